/**
 * A signal that fires when its caller's does or when a wait takes too long. The timer runs only while
 * something is awaited, so a consumer that is slow to take bytes is not mistaken for a dead server.
 */

import { SiphonError } from '../common/errors.js';

/** Milliseconds, 25 days: Node takes more for none. */
const LONGEST_WAIT = 2 ** 31 - 1;

export class Watchdog implements Disposable {
  readonly #controller = new AbortController();
  readonly #parent: AbortSignal;
  readonly #onAbort = (): void => this.#controller.abort(cancellation(this.#parent));
  #timer: NodeJS.Timeout | undefined;

  constructor(parent: AbortSignal) {
    this.#parent = parent;
    if (parent.aborted) this.#onAbort();
    else parent.addEventListener('abort', this.#onAbort, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Starts the wait anew: `error()` becomes the signal's reason unless {@link rest} comes first. */
  watch(milliseconds: number, error: () => SiphonError): void {
    this.rest();
    const wait = Math.min(LONGEST_WAIT, milliseconds);
    this.#timer = setTimeout(() => this.#controller.abort(error()), wait);
  }

  rest(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  [Symbol.dispose](): void {
    this.rest();
    this.#parent.removeEventListener('abort', this.#onAbort);
  }
}

/** Why `signal` fired, as an error to throw: its own reason where that is a {@link SiphonError}. */
export function cancellation(signal: AbortSignal): SiphonError {
  const cause: unknown = signal.reason;
  if (cause instanceof SiphonError) return cause;
  if (cause instanceof Error && cause.name === 'TimeoutError') {
    return new SiphonError('timeout', 'Cannot wait any longer: the time given is over', { cause });
  }
  return new SiphonError('cancelled', 'Cannot go on: the request was cancelled', { cause });
}

/** @throws the signal's {@link cancellation} */
export function throwIfCancelled(signal: AbortSignal): void {
  if (signal.aborted) throw cancellation(signal);
}

/** `promise`, or the cancellation of `signal`, whichever comes first; the promise itself goes on. */
export async function orCancelled<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const onAbort = (): void => reject(cancellation(signal));
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    void promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

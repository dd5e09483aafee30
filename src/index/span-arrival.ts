/** What those wait for who need a span that is on its way. */

import { SiphonError } from '../common/errors.js';
import type { Urgency } from '../common/urgency.js';

export interface SpanArrival {
  /** Of the work that brings it. */
  readonly urgency: Urgency;
  /** The last span that comes with it. */
  readonly last: number;
  /**
   * Resolves when all that comes with it is in the cache.
   * @throws SiphonError `cancelled` as soon as `signal` is aborted; and what went wrong
   */
  wait(signal: AbortSignal): Promise<void>;
}

/** Work that goes on as long as anyone waits for it. */
export class SharedArrival implements SpanArrival {
  readonly last: number;
  readonly urgency: Urgency;
  readonly #work: Promise<void>;
  readonly #giveUp: () => void;
  #waiting = 0;
  #settled = false;

  /** @param giveUp called when the last of those who wait left before the end */
  constructor(last: number, work: Promise<void>, urgency: Urgency, giveUp: () => void) {
    this.last = last;
    this.urgency = urgency;
    this.#giveUp = giveUp;
    this.#work = work.finally(() => (this.#settled = true));
    // Whoever waits sees it; all may have left.
    this.#work.catch(() => undefined);
  }

  async wait(signal: AbortSignal): Promise<void> {
    this.#waiting += 1;
    try {
      await untilAborted(this.#work, signal);
    } finally {
      this.#waiting -= 1;
      if (this.#waiting === 0 && !this.#settled) this.#giveUp();
    }
  }
}

/** One span out of work that goes on in any case. */
export class SoleArrival implements SpanArrival {
  readonly last: number;
  readonly urgency: Urgency;
  readonly #stored: Promise<void>;
  resolve: () => void = () => undefined;
  reject: (error: unknown) => void = () => undefined;

  constructor(number: number, urgency: Urgency) {
    this.last = number;
    this.urgency = urgency;
    this.#stored = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    this.#stored.catch(() => undefined);
  }

  wait(signal: AbortSignal): Promise<void> {
    return untilAborted(this.#stored, signal);
  }
}

export function cancelled(why: string, cause?: unknown): SiphonError {
  return new SiphonError('cancelled', `Cannot fetch spans: ${why}`, { cause });
}

async function untilAborted(work: Promise<void>, signal: AbortSignal): Promise<void> {
  if (signal.aborted) throw cancelled('the work was cancelled', signal.reason);
  let onAbort: () => void = () => undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(cancelled('the work was cancelled', signal.reason));
    signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

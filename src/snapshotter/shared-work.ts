/**
 * One piece of work for all who ask for the same at the same time. Each asker can leave by its own
 * signal; the work itself is aborted when the last one has left.
 */

interface Running<T> {
  result: Promise<T>;
  abort: AbortController;
  askers: number;
}

export class SharedWork<T> {
  readonly #running = new Map<string, Running<T>>();
  /** Also what nobody waits for any more. */
  readonly #unsettled = new Set<Promise<unknown>>();

  /** Joins the work named `key` where it runs, else starts it. @throws `signal`'s reason */
  async run(
    key: string,
    signal: AbortSignal,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    signal.throwIfAborted();
    const running = this.#running.get(key) ?? this.#start(key, work);
    running.askers += 1;
    try {
      return await untilAborted(running.result, signal);
    } finally {
      running.askers -= 1;
      if (running.askers === 0) this.#leave(key, running);
    }
  }

  /** Resolves when no work runs, aborted work included. */
  async idle(): Promise<void> {
    while (this.#unsettled.size > 0) await Promise.allSettled(this.#unsettled);
  }

  #start(key: string, work: (signal: AbortSignal) => Promise<T>): Running<T> {
    const abort = new AbortController();
    const running: Running<T> = { result: work(abort.signal), abort, askers: 0 };
    this.#running.set(key, running);
    this.#unsettled.add(running.result);
    const settled = (): unknown => this.#unsettled.delete(running.result);
    running.result.then(settled, settled);
    return running;
  }

  /** Whoever asks from now on starts anew, also while aborted work still winds up. */
  #leave(key: string, running: Running<T>): void {
    if (this.#running.get(key) === running) this.#running.delete(key);
    running.abort.abort(new Error('nobody waits for it any more'));
  }
}

/** The result of `work`, or `signal`'s reason as soon as it aborts; `work` goes on. */
export async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    // Whoever aborts says why; `reason` is what they gave, an Error or not.
    const leave = (): void => reject(signal.reason as Error);
    if (signal.aborted) leave();
    signal.addEventListener('abort', leave, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', leave));
  });
}

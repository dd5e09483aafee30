/**
 * Work that several callers want at once is done once. The work is cancelled when the last caller has
 * given up; a failure is forgotten, so that the next caller tries anew.
 */

import { SiphonError } from './errors.js';

interface Job<V> {
  result: Promise<V>;
  abort: AbortController;
  waiting: number;
}

export class SharedWork<K, V> {
  readonly #jobs = new Map<K, Job<V>>();

  /**
   * The outcome of `work` for `key`, begun by this call or joined.
   * @throws what the work throws; SiphonError `cancelled` as soon as `signal` is aborted
   */
  async run(key: K, signal: AbortSignal, work: (signal: AbortSignal) => Promise<V>): Promise<V> {
    if (signal.aborted) throw cancelled(signal);
    const job = this.#jobs.get(key) ?? this.#begin(key, work);
    job.waiting += 1;
    try {
      return await abortable(job.result, signal);
    } finally {
      job.waiting -= 1;
      if (job.waiting === 0) this.#leave(key, job);
    }
  }

  #begin(key: K, work: (signal: AbortSignal) => Promise<V>): Job<V> {
    const abort = new AbortController();
    const job: Job<V> = { result: work(abort.signal), abort, waiting: 0 };
    this.#jobs.set(key, job);
    // Every caller sees the failure through its own wait; this one only keeps it from being unhandled.
    job.result.catch(() => {}).finally(() => this.#leave(key, job));
    return job;
  }

  #leave(key: K, job: Job<V>): void {
    if (this.#jobs.get(key) === job) this.#jobs.delete(key);
    job.abort.abort();
  }
}

function abortable<V>(result: Promise<V>, signal: AbortSignal): Promise<V> {
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(cancelled(signal));
    signal.addEventListener('abort', stop, { once: true });
    result.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}

function cancelled(signal: AbortSignal): SiphonError {
  return new SiphonError('cancelled', 'Cannot go on: the request was cancelled', {
    cause: signal.reason,
  });
}

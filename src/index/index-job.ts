/** A thread that makes an index, from its own side. */

import { parentPort } from 'node:worker_threads';
import type { LayerInfo } from './layer-model.js';
import { type Failure, failureOf } from './thread-failure.js';

/** How the work of a thread ends. */
export type IndexOutcome = { kind: 'done'; info: LayerInfo } | Failure;

/** Asks a thread to end, which it does before it looks at another message. */
export const LEAVE = 'leave';

/** Messages of type `In` arrive; `Request` is what it may ask of the other side. */
export class IndexJob<In, Request> {
  readonly #port;
  readonly #path: string;
  #failed = false;

  /** @param path of the index file that is written */
  constructor(path: string) {
    if (parentPort === null) throw new Error('An index job runs in a worker thread only');
    this.#port = parentPort;
    this.#path = path;
  }

  /** Takes messages until the work failed or the thread is asked to leave. */
  listen(take: (message: In) => void): void {
    this.#port.on('message', (message: In | typeof LEAVE) => {
      if (message === LEAVE) process.exit();
      if (!this.#failed) this.attempt(() => take(message));
    });
  }

  /** Reports what is thrown; the other side then ends this thread and removes the files. */
  attempt<T>(action: () => T): T | undefined {
    try {
      return action();
    } catch (error) {
      this.fail(error);
      return undefined;
    }
  }

  request(request: Request): void {
    this.#say({ kind: 'request', request });
  }

  done(info: LayerInfo): void {
    this.#say({ kind: 'done', info });
  }

  fail(error: unknown): void {
    this.#failed = true;
    this.#say(failureOf(error, this.#path));
  }

  #say(message: IndexOutcome | { kind: 'request'; request: Request }): void {
    this.#port.postMessage(message, []);
  }
}

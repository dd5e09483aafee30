/**
 * Requests about layers that are still being opened: nobody answers them before, and then the kernel is asked to
 * send them again. Until that, one whose thread is dying is answered, for the thread could not end otherwise.
 */

import { constants } from 'node:os';
import { failureReply } from './protocol/reply.js';
import { uniqueKey } from './protocol/request.js';
import { isDying } from './thread-signals.js';

export interface HeldRequest {
  uniqueLow: number;
  uniqueHigh: number;
  /** Thread that waits; 0 where it is not known. */
  pid: number;
}

const watchInterval = 100; // ms

export class HeldRequests {
  readonly #reply: (message: Buffer) => Promise<void>;
  readonly #held = new Map<number, HeldRequest>();
  #watch: NodeJS.Timeout | undefined;

  /** @param reply writes an answer to the kernel; what it throws is nobody's concern */
  constructor(reply: (message: Buffer) => Promise<void>) {
    this.#reply = reply;
  }

  hold(request: HeldRequest): void {
    this.#held.set(uniqueKey(request.uniqueLow, request.uniqueHigh), request);
    this.#watch ??= setInterval(() => this.#releaseDying(), watchInterval);
  }

  /** The kernel sends them again, or the mount has gone. */
  clear(): void {
    this.#held.clear();
    clearInterval(this.#watch);
    this.#watch = undefined;
  }

  #releaseDying(): void {
    for (const [key, { uniqueLow, uniqueHigh, pid }] of this.#held) {
      if (pid === 0 || !isDying(pid)) continue;
      this.#held.delete(key);
      this.#reply(failureReply(uniqueLow, uniqueHigh, constants.errno.EINTR)).catch(() => {});
    }
  }
}

/** Bytes of a blob on their way: they come once for all who want them, and as long as anybody does. */

import type { ByteRange } from '../common/range-set.js';
import { untilAborted } from '../common/until-aborted.js';
import type { Urgency } from '../common/urgency.js';

export class Transfer {
  readonly range: Readonly<ByteRange>;
  readonly urgency: Urgency;
  readonly #bytes: Promise<Buffer>;
  readonly #abort = new AbortController();
  #waiting = 0;
  #settled = false;

  constructor(range: ByteRange, urgency: Urgency, fetch: (signal: AbortSignal) => Promise<Buffer>) {
    this.range = range;
    this.urgency = urgency;
    this.#bytes = fetch(this.#abort.signal).finally(() => (this.#settled = true));
    // Whoever waits sees it; all may have left.
    this.#bytes.catch(() => undefined);
  }

  /** Whether the last of those who waited has left before the end. */
  get isGivenUp(): boolean {
    return this.#abort.signal.aborted;
  }

  /** @throws what fetching throws; the reason of `signal` as soon as it is aborted */
  async wait(signal: AbortSignal): Promise<Buffer> {
    this.#waiting += 1;
    try {
      return await untilAborted(this.#bytes, signal);
    } finally {
      this.#waiting -= 1;
      if (this.#waiting === 0 && !this.#settled) this.#abort.abort(signal.reason);
    }
  }
}

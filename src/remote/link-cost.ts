/**
 * What requests to a host cost, learnt from the latest that were made: the least time until an answer began, which is
 * the round trip and what the server does for it; and for how long bytes came. Whatever else goes on makes
 * an answer begin late, never early, so one quiet request among them tells.
 */

/** How many requests are remembered. */
const REMEMBERED = 16;
/** Bytes taken for the price of a request until a second one has come: the first made a connection, too. */
const FIRST_GUESS = 128 << 10;
/** Most bytes that a request is ever said to be worth. */
const MOST = 4 << 20;

/** A request that brought bytes, in ms of one clock. */
export interface TimedRange {
  bytes: number;
  sentAt: number;
  /** When its answer began. */
  beganAt: number;
  endedAt: number;
}

export class LinkCost {
  readonly #latest: TimedRange[] = [];

  learn(range: TimedRange): void {
    this.#latest.push(range);
    if (this.#latest.length > REMEMBERED) this.#latest.shift();
  }

  /** Bytes that come in the time that one more request would take: round trip × bandwidth. */
  get bytesPerRequest(): number {
    if (this.#latest.length < 2) return FIRST_GUESS;
    const request = Math.min(...this.#latest.map(({ sentAt, beganAt }) => beganAt - sentAt));
    const bytes = this.#latest.reduce((sum, range) => sum + range.bytes, 0);
    const time = this.#busyTime(request);
    return time <= 0 ? MOST : Math.min(MOST, (request * bytes) / time);
  }

  /** For how long bytes came, where answers begin `request` ms after they were asked for; several at a time share it. */
  #busyTime(request: number): number {
    let [time, until] = [0, -Infinity];
    for (const { sentAt, endedAt } of this.#latest.toSorted((a, b) => a.sentAt - b.sentAt)) {
      time += Math.max(0, endedAt - Math.max(until, sentAt + request));
      until = Math.max(until, endedAt);
    }
    return time;
  }
}

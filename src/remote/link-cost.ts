/**
 * What requests to a host cost, learnt from the latest that were made: the least time until an answer began, which is
 * the round trip and what the server does for it; and what a byte took beyond that, on average. Whatever else goes on makes
 * an answer begin late, never early, so one quiet request among them tells.
 */

/** How many requests are remembered. */
const REMEMBERED = 16;
/** Bytes taken for the price of a request until a second one has come: the first made a connection, too. */
const FIRST_GUESS = 128 << 10;
/** Most bytes that a request is ever said to be worth. */
const MOST = 4 << 20;

/** A request that brought bytes; times in ms from when it was sent. */
export interface TimedRange {
  bytes: number;
  /** When its answer began. */
  began: number;
  ended: number;
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
    const request = Math.min(...this.#latest.map(({ began }) => began));
    let [bytes, time] = [0, 0];
    for (const range of this.#latest) {
      bytes += range.bytes;
      time += range.ended - request;
    }
    return time <= 0 ? MOST : Math.min(MOST, (request * bytes) / time);
  }
}

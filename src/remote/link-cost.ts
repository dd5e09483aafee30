/**
 * What requests to a host cost, learnt from those that were made: so much each, and so much for each byte.
 * The two are fitted to the times seen (least squares, older ones counting less and less).
 */

/** How much each request makes those before it count less. */
const DECAY = 0.95;
/** Bytes taken for the price of a request until there is more than one size to compare. */
const FIRST_GUESS = 128 << 10;
/** Most bytes that a request is ever said to be worth. */
const MOST = 4 << 20;

export class LinkCost {
  #weight = 0;
  #bytes = 0;
  #time = 0;
  #bytesSquared = 0;
  #bytesTime = 0;

  /** @param milliseconds that a request for `bytes` took */
  learn(bytes: number, milliseconds: number): void {
    this.#weight = this.#weight * DECAY + 1;
    this.#bytes = this.#bytes * DECAY + bytes;
    this.#time = this.#time * DECAY + milliseconds;
    this.#bytesSquared = this.#bytesSquared * DECAY + bytes * bytes;
    this.#bytesTime = this.#bytesTime * DECAY + bytes * milliseconds;
  }

  /** Bytes that come in the time that one more request would take: round trip × bandwidth. */
  get bytesPerRequest(): number {
    const spread = this.#weight * this.#bytesSquared - this.#bytes ** 2;
    // Sizes that are all but the same tell nothing of what a byte costs.
    if (spread <= 0.01 * this.#bytes ** 2) return FIRST_GUESS;
    const perByte = (this.#weight * this.#bytesTime - this.#bytes * this.#time) / spread;
    const perRequest = (this.#time - perByte * this.#bytes) / this.#weight;
    if (perByte <= 0) return MOST;
    return Math.min(MOST, Math.max(0, perRequest / perByte));
  }
}

/**
 * Large buffers that are used again. V8 frees those that nobody uses late, since it counts them as next to nothing, and each new one
 * costs a page fault for every 4 KiB of it.
 */

/** Capacities are multiples of it, so that buffers of nearly one size take each other's places. */
const STEP = 256 << 10;

export class SpareBuffers {
  readonly #spare: Buffer[] = [];
  readonly #most: number;

  /** @param most bytes that are kept while nobody uses them */
  constructor(most: number) {
    this.#most = most;
  }

  /** A buffer of `length` bytes, whatever is in it. */
  take(length: number): Buffer {
    const at = this.#spare.findIndex((one) => one.length >= length);
    const [buffer = Buffer.allocUnsafeSlow(Math.ceil(length / STEP) * STEP)] =
      at < 0 ? [] : this.#spare.splice(at, 1);
    return buffer.subarray(0, length);
  }

  /** For others to take. @param buffer from {@link take}, which nobody uses any more */
  giveBack(buffer: Buffer): void {
    const whole = Buffer.from(buffer.buffer);
    const kept = this.#spare.reduce((sum, { length }) => sum + length, whole.length);
    if (kept <= this.#most) this.#spare.push(whole);
  }
}

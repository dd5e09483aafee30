/**
 * Large buffers that are used again. V8 frees those that nobody uses late, or looks through its whole heap for every few MiB of
 * them, and each new one costs a page fault for every 4 KiB of it.
 */

/** Capacities are multiples of it, so that buffers of nearly one size take each other's places. */
const STEP = 256 << 10;
/** Smaller ones are left to V8. */
const LEAST = 64 << 10;

export class SpareBuffers {
  readonly #spare: Buffer[] = [];
  readonly #most: number;

  /** @param most bytes that are kept while nobody uses them */
  constructor(most: number) {
    this.#most = most;
  }

  /** A buffer of `length` bytes, whatever is in it. */
  take(length: number): Buffer {
    if (length < LEAST) return Buffer.allocUnsafeSlow(length);
    const size = Math.ceil(length / STEP) * STEP;
    return (this.#takeSpare(size) ?? Buffer.allocUnsafeSlow(size)).subarray(0, length);
  }

  /**
   * For others to take; one that never is given back is V8's to free.
   * @param buffer from {@link take}, which nobody uses any more
   */
  giveBack(buffer: Buffer): void {
    if (buffer.length < LEAST) return;
    const whole = Buffer.from(buffer.buffer);
    const kept = this.#spare.reduce((sum, { length }) => sum + length, whole.length);
    if (kept <= this.#most) this.#spare.push(whole);
  }

  /** The smallest that suffices. */
  #takeSpare(size: number): Buffer | undefined {
    const fitting = this.#spare.filter(({ length }) => length >= size);
    const [best] = fitting.sort((a, b) => a.length - b.length);
    if (best !== undefined) this.#spare.splice(this.#spare.indexOf(best), 1);
    return best;
  }
}

/** Of contents on their way from a blob to the cache and the kernel: a few spans of the usual size, packed and plain. */
export const passing = new SpareBuffers(6 << 20);

/**
 * What a deflate stream needs of the window before one of its blocks. The blocks copy from the 32 KiB of output that
 * come before, but never from all of them: most of a window is there for nothing, and a window of which only the bytes
 * that are copied are kept takes a fifth of the room.
 *
 * Nothing but zlib knows which they are, and it does not tell. So the blocks are inflated twice with windows whose
 * bytes say where they lie: both tell the low byte of the place, the second plus one and the place's high byte. What is
 * alike in both outputs was no copy of the window; where they differ, the difference gives the place. Only the
 * first 32 KiB of output can be copies, for a block reaches no further back.
 */

import { Inflate, WINDOW_SIZE, Z } from '../ffi/zlib.js';

/** Compressed bytes that are looked at; blocks with hardly any output in so many need the window as it is. */
export const SPARSE_INPUT = 2 * WINDOW_SIZE;

/** Two windows; the bytes at one place are never alike, and no two places have the same two bytes. */
const LOW = Buffer.alloc(WINDOW_SIZE);
const HIGH = Buffer.alloc(WINDOW_SIZE);
for (let place = 0; place < WINDOW_SIZE; place += 1) {
  LOW[place] = place;
  HIGH[place] = place + 1 + (place >> 8);
}

/** Bytes that differ in nothing would lie in so many places in front of a window. */
const NOWHERE = 256;

/** Deflate blocks, or the first of them. */
export interface Blocks {
  /** What of the blob begins with the first byte that holds bits of theirs. */
  input: Buffer;
  /** How many high bits of that byte are theirs; 0 means all of it. */
  bits: number;
}

/** Makes windows sparse, one after the other. */
export class WindowSieve implements Disposable {
  readonly #stream = new Inflate('raw');
  readonly #low = Buffer.allocUnsafeSlow(WINDOW_SIZE);
  readonly #high = Buffer.allocUnsafeSlow(WINDOW_SIZE);
  /** The window, and what is kept of it, each behind room for what is no copy: to leave that out takes longer. */
  readonly #full = new Uint8Array(NOWHERE + WINDOW_SIZE);
  readonly #sparse = new Uint8Array(NOWHERE + WINDOW_SIZE);

  /**
   * The end of `window` that the blocks behind it need, with zeros for the bytes that they do not copy.
   * @returns `window` itself where the first {@link SPARSE_INPUT} bytes of the blocks do not tell
   */
  sparse(window: Buffer, { input, bits }: Blocks): Buffer {
    const blocks = { input: input.subarray(0, SPARSE_INPUT), bits };
    const length = this.#inflate(blocks, LOW, this.#low);
    if (length === undefined) return window;
    this.#inflate(blocks, HIGH, this.#high);
    return this.#pick(window, length);
  }

  [Symbol.dispose](): void {
    this.#stream.close();
  }

  #pick(window: Buffer, length: number): Buffer {
    const [lows, highs, full, sparse] = [this.#low, this.#high, this.#full, this.#sparse];
    // The places are those of a whole window; this one may be shorter.
    const begin = NOWHERE + WINDOW_SIZE - window.length;
    full.set(window, begin);
    sparse.fill(0);
    let first = full.length;
    for (let at = 0; at < length; at += 1) {
      const low = lows[at] ?? 0;
      const difference = ((highs[at] ?? 0) - low) & 0xff;
      // Without a difference it lies in front of the places, where nobody looks.
      const place = NOWHERE + (((difference - 1) << 8) | low);
      sparse[place] = full[place] ?? 0;
      if (place >= NOWHERE && place < first) first = place;
    }
    return Buffer.from(sparse.subarray(first));
  }

  /** @returns how many bytes are output; `undefined` where that is neither as much as can be copies nor all there is */
  #inflate({ input, bits }: Blocks, window: Buffer, output: Buffer): number | undefined {
    const stream = this.#stream;
    stream.reset('raw');
    if (bits > 0) stream.prime(bits, (input[0] ?? 0) >> (8 - bits));
    stream.setInput(bits === 0 ? input : input.subarray(1));
    stream.setWindow(window);
    stream.setOutput(output);
    const code = stream.run(Z.NO_FLUSH);
    const length = output.length - stream.outputLeft;
    return code === Z.STREAM_END || length === WINDOW_SIZE ? length : undefined;
  }
}

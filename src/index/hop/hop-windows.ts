/**
 * The bytes of a blob that a hopping reader asks for, one window after another, each at an offset beyond the last.
 *
 * A round trip costs about as much as a MiB of bytes does on the links between machines. So a hop
 * over less leaves the reading sequential: windows double, and at their largest some are read
 * ahead. After a larger hop a small window comes first: most often it holds one header, and the next hop.
 */

import type { BlobSource } from '../../common/blob-source.js';

const SMALLEST_WINDOW = 64 << 10;
const LARGEST_WINDOW = 1 << 20;
/** Hops over less are not worth a request of their own. */
const SMALLEST_HOP = 1 << 20;
/** Windows under way at once while reading is sequential. */
const LANES = 4;

interface Window {
  offset: number;
  end: number;
  bytes: Promise<Buffer>;
  abort: AbortController;
}

export class HopWindows {
  readonly #source: BlobSource;
  readonly #signal: AbortSignal;
  #windows: Window[] = [];
  #size = SMALLEST_WINDOW / 2;
  /** Where what was asked for so far ends. */
  #end = 0;

  constructor(source: BlobSource, signal: AbortSignal) {
    this.#source = source;
    this.#signal = signal;
  }

  /**
   * Some bytes from `offset` on, which lies within the blob and not before those given last.
   * @throws what the source throws
   */
  async at(offset: number): Promise<Buffer> {
    this.#forget((window) => window.end <= offset);
    if (offset - this.#end >= SMALLEST_HOP) {
      this.#size = SMALLEST_WINDOW;
      this.#begin(offset);
    } else {
      if (this.#windows.length === 0) {
        this.#size = Math.min(LARGEST_WINDOW, 2 * this.#size);
        this.#begin(Math.max(offset, this.#end));
      }
      const lanes = this.#size === LARGEST_WINDOW ? LANES : 1;
      while (this.#windows.length < lanes && this.#end < this.#source.size) this.#begin(this.#end);
    }
    const [window] = this.#windows;
    if (window === undefined) throw new RangeError(`Cannot read at ${offset}: behind the blob`);
    return (await window.bytes).subarray(offset - window.offset);
  }

  close(): void {
    this.#forget(() => true);
  }

  #begin(offset: number): void {
    const end = Math.min(offset + this.#size, this.#source.size);
    const abort = new AbortController();
    const signal = AbortSignal.any([this.#signal, abort.signal]);
    const bytes = this.#source.read(offset, end - offset, signal);
    // Seen when the window is asked for, which it may never be.
    bytes.catch(() => undefined);
    this.#windows.push({ offset, end, bytes, abort });
    this.#end = end;
  }

  #forget(which: (window: Window) => boolean): void {
    for (const window of this.#windows.filter(which)) window.abort.abort();
    this.#windows = this.#windows.filter((window) => !which(window));
  }
}

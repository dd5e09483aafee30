/**
 * A blob on its way as a whole, from a server that sends no ranges: once, for all who want parts of it. Each piece is
 * kept where there is room, and handed to those who want bytes of it as it passes by, so that it serves reads
 * without a disk as well.
 *
 * A stream that is kept goes on to its end though nobody waits any more, since whoever comes next would have to begin it
 * anew. One that is not rests where nobody wants what follows, and soon ends.
 */

import type { ByteRange } from '../common/range-set.js';
import { untilAborted } from '../common/until-aborted.js';
import { Urgency } from '../common/urgency.js';

/** How long a stream that is not kept waits for somebody who wants more of it, in ms. */
const REST = 2000;

/** Somebody who waits for a range. */
interface Want {
  range: Readonly<ByteRange>;
  bytes: Buffer;
  resolve: () => void;
  reject: (error: unknown) => void;
}

export interface BlobStreamOptions {
  /** Opens the blob, from its first byte. */
  open: (signal: AbortSignal, urgency: Urgency) => AsyncIterable<Uint8Array>;
  /** Keeps a piece. @returns whether the disk has taken it */
  keep: (offset: number, piece: Uint8Array) => Promise<boolean>;
  urgency: Urgency;
}

export class BlobStream {
  readonly urgency: Urgency;
  /** Settles when no more comes. */
  readonly done: Promise<void>;
  readonly #options: BlobStreamOptions;
  readonly #stop = new AbortController();
  readonly #wants = new Set<Want>();
  #position = 0;
  #kept: Promise<unknown> = Promise.resolve();
  #wanted: () => void = () => undefined;
  #isOver = false;
  #givesWay = false;

  constructor(options: BlobStreamOptions) {
    this.#options = options;
    this.urgency = new Urgency(options.urgency.class);
    this.done = this.#run();
    this.done.catch(() => undefined);
  }

  /** Whether nothing more comes, or is about to. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Where the next piece begins. */
  get position(): number {
    return this.#position;
  }

  /** Resolves when what has passed by is kept, as far as it is. */
  get kept(): Promise<unknown> {
    return this.#kept;
  }

  /**
   * A range from {@link position} on or behind that, of a stream that is not over.
   * @throws what the stream throws; the reason of `signal` as soon as it is aborted
   */
  async want(range: Readonly<ByteRange>, signal: AbortSignal): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(range.end - range.start);
    if (bytes.length === 0) return bytes;
    let want: Want | undefined;
    const came = new Promise<void>((resolve, reject) => {
      want = { range, bytes, resolve, reject };
      this.#wants.add(want);
      this.#wanted();
    });
    try {
      await untilAborted(came, signal);
      return bytes;
    } finally {
      if (want !== undefined) this.#wants.delete(want);
    }
  }

  /** Somebody wants what has passed by: where it is not kept, it ends as soon as nobody wants what follows. */
  giveWay(): void {
    this.#givesWay = true;
    this.#wanted();
  }

  /** Ends it at once: from now on nothing of it is kept or handed out. */
  stop(because: Error): void {
    this.#stop.abort(because);
    this.#fail(because);
    this.#wanted();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    try {
      for await (const piece of this.#options.open(signal, this.urgency)) {
        if (signal.aborted) break;
        this.#hand(piece);
        const kept = this.#options.keep(this.#position, piece);
        this.#position += piece.byteLength;
        this.#kept = kept;
        if (!(await kept) && !(await this.#isWanted())) break;
      }
      signal.throwIfAborted();
      this.#fail(new Error('The stream is over'));
    } catch (error) {
      this.#fail(error);
      throw error;
    }
  }

  #hand(piece: Uint8Array): void {
    const at = this.#position;
    const end = at + piece.byteLength;
    for (const want of this.#wants) {
      const { range, bytes } = want;
      const from = Math.max(at, range.start);
      const to = Math.min(end, range.end);
      if (from < to) bytes.set(piece.subarray(from - at, to - at), from - range.start);
      if (end < range.end) continue;
      this.#wants.delete(want);
      want.resolve();
    }
  }

  /** Whether somebody wants what follows, now or soon. */
  async #isWanted(): Promise<boolean> {
    if (this.#stop.signal.aborted) return false;
    if (this.#wants.size > 0) return true;
    let timer: NodeJS.Timeout | undefined;
    if (!this.#givesWay)
      await new Promise<void>((resolve) => {
        this.#wanted = resolve;
        timer = setTimeout(resolve, REST).unref();
      });
    clearTimeout(timer);
    this.#isOver = this.#wants.size === 0;
    return !this.#isOver;
  }

  #fail(error: unknown): void {
    this.#isOver = true;
    for (const want of this.#wants) want.reject(error);
    this.#wants.clear();
  }
}

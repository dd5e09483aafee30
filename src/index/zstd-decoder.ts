/**
 * A zstd blob as it streams by. Decoding can start at the frames' starts and nowhere else (RFC 8878,
 * section 3.1.1), so what is larger than a span becomes a group of spans:
 *
 * - frames smaller than a span are put together until they fill one;
 * - a larger frame is cut into spans that share its start as their entry point.
 *
 * Frames to skip (pzstd's sizes, a table of contents) have no output and belong to no span, unless they lie
 * between frames that were put together.
 */

import { type ZstdProgress, Unzstd } from '../ffi/zstd.js';
import type { DecoderListener, DecoderOptions, SpanDecoder } from './decoder-model.js';
import { zstdCut, zstdError } from './zstd-stream.js';

/** Bytes to skip between two frames that are worth an entry point of their own. */
const MAX_GAP = 64 * 1024;

export class ZstdDecoder implements SpanDecoder {
  readonly #listener: DecoderListener;
  readonly #options: DecoderOptions;
  readonly #unzstd = new Unzstd();
  #output: Buffer;
  #filled = 0;
  #inFrame = false;
  #frameStart = 0;
  /** Bytes that the present frame has given. */
  #frameOutput = 0;
  /** End of the last frame that gave any. */
  #dataEnd = 0;
  #sinceEntry = Number.POSITIVE_INFINITY;
  #sinceSplit = 0;
  /** Bytes of the blob up to the end of the present piece. */
  #end = 0;

  constructor(listener: DecoderListener, options: DecoderOptions) {
    this.#listener = listener;
    this.#options = options;
    this.#output = options.nextOutput();
  }

  push(bytes: Buffer): void {
    this.#unzstd.setInput(bytes);
    this.#end += bytes.length;
    for (;;) {
      if (!this.#inFrame && !this.#enterFrame()) break;
      const room = this.#output.subarray(this.#filled);
      this.#unzstd.setOutput(room);
      const progress = this.#unzstd.run();
      this.#handOn(room.subarray(0, room.length - this.#unzstd.outputLeft));
      this.#follow(progress);
      // zstd may hold output back only where there was no more room.
      if (this.#unzstd.inputLeft === 0 && this.#unzstd.outputLeft > 0) break;
    }
  }

  finish(): number {
    if (this.#inFrame || this.#end === 0) throw zstdCut(this.#end);
    return this.#dataEnd;
  }

  close(): void {
    this.#unzstd.close();
  }

  #enterFrame(): boolean {
    if (this.#unzstd.inputLeft === 0) return false;
    this.#inFrame = true;
    this.#frameStart = this.#at();
    this.#frameOutput = 0;
    return true;
  }

  #follow(progress: ZstdProgress): void {
    if (progress === 'more') return;
    if (progress !== 'frame-end') throw zstdError(progress, this.#at());
    this.#inFrame = false;
    if (this.#frameOutput > 0) this.#dataEnd = this.#at();
  }

  #handOn(bytes: Buffer): void {
    const { length } = bytes;
    if (length === 0) return;
    if (this.#frameOutput === 0) this.#beginData();
    // A small frame that fills up a span is not cut: more than one would have to be decoded for its end.
    if (Math.min(this.#sinceSplit, this.#frameOutput) >= this.#options.spanSize) {
      this.#listener.split();
      this.#sinceSplit = 0;
    }
    this.#listener.output(bytes);
    this.#sinceEntry += length;
    this.#sinceSplit += length;
    this.#frameOutput += length;
    this.#count(length);
  }

  #count(length: number): void {
    this.#filled += length;
    if (this.#filled < this.#output.length) return;
    this.#output = this.#options.nextOutput();
    this.#filled = 0;
  }

  /** The frame's first output. */
  #beginData(): void {
    const gap = this.#frameStart - this.#dataEnd;
    if (this.#sinceEntry < this.#options.spanSize && gap <= MAX_GAP) return;
    this.#sinceEntry = 0;
    this.#sinceSplit = 0;
    const [blobOffset, previousEnd] = [this.#frameStart, this.#dataEnd];
    this.#listener.checkpoint({ blobOffset, bits: 0, previousEnd });
  }

  #at(): number {
    return this.#end - this.#unzstd.inputLeft;
  }
}

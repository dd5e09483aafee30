/**
 * The bytes of the tar on their way: handed to the hasher, with each span and its window written down. A
 * span begins with the first byte after its checkpoint, so none is empty. The digests come in the end.
 */

import { deflateRawSync } from 'node:zlib';
import { SiphonError } from '../common/errors.js';
import type { LayerHasher } from './layer-hasher.js';
import type { Checkpoint, DecoderListener } from './span-decoder.js';
import { MAX_SPAN_SIZE } from './span-limits.js';

/** One third the size at a fifth of the time of the best level, which saves another 3 %. */
const WINDOW_LEVEL = 2;

/** Stores the window of span `number`, as raw deflate. */
export type WindowWriter = (number: number, window: Buffer) => void;

export interface RecordedSpan {
  number: number;
  tarOffset: number;
  blobOffset: number;
  blobLength: number;
  bits: number;
  skip: number;
  digest: Buffer;
}

export type UnhashedSpan = Omit<RecordedSpan, 'digest'>;

export class SpanRecorder implements DecoderListener {
  readonly #hasher: LayerHasher;
  readonly #writeWindow: WindowWriter;
  readonly #consume: (bytes: Buffer) => void;
  readonly #spans: UnhashedSpan[] = [];
  #current: { start: Checkpoint; tarOffset: number } | undefined;
  #next: Checkpoint | undefined;
  #tarOffset = 0;

  /** `consume` takes the bytes of the tar. */
  constructor(hasher: LayerHasher, writeWindow: WindowWriter, consume: (bytes: Buffer) => void) {
    this.#hasher = hasher;
    this.#writeWindow = writeWindow;
    this.#consume = consume;
  }

  get tarSize(): number {
    return this.#tarOffset;
  }

  checkpoint(at: Checkpoint): void {
    this.#next ??= at;
  }

  output(bytes: Buffer): void {
    if (this.#next !== undefined) this.#begin(this.#next);
    this.#hasher.update('tar', bytes);
    this.#tarOffset += bytes.length;
    this.#checkSize();
    this.#consume(bytes);
  }

  /** Ends the last span, whose bytes in the blob end at `blobEnd`; returns all of them. */
  finish(blobEnd: number): UnhashedSpan[] {
    this.#end(blobEnd);
    return this.#spans;
  }

  #begin(start: Checkpoint): void {
    this.#end(start.previousEnd);
    this.#next = undefined;
    this.#current = { start, tarOffset: this.#tarOffset };
  }

  #end(blobEnd: number): void {
    if (this.#current === undefined) return;
    const { start, tarOffset } = this.#current;
    const span = {
      number: this.#spans.length,
      tarOffset,
      blobOffset: start.blobOffset,
      blobLength: blobEnd - start.blobOffset,
      bits: start.bits,
      skip: 0,
    };
    if (span.blobLength > MAX_SPAN_SIZE) throw tooLarge(span.blobLength);
    this.#hasher.endSpan();
    this.#spans.push(span);
    if (start.window !== undefined)
      this.#writeWindow(span.number, deflateRawSync(start.window, { level: WINDOW_LEVEL }));
    this.#current = undefined;
  }

  #checkSize(): void {
    const size = this.#tarOffset - (this.#current?.tarOffset ?? 0);
    if (size > MAX_SPAN_SIZE) throw tooLarge(size);
  }
}

function tooLarge(size: number): SiphonError {
  return new SiphonError(
    'unsupported',
    `Cannot index layer: ${size} bytes of it can only be read together, expected at most ${MAX_SPAN_SIZE}`,
  );
}

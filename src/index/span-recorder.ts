/**
 * The bytes of the tar on their way: hashed as a whole and by span, with each span and its window written
 * down. A span begins with the first byte after its checkpoint, so none is empty.
 */

import { type Hash, createHash } from 'node:crypto';
import { deflateRawSync } from 'node:zlib';
import { SiphonError } from '../common/errors.js';
import type { Checkpoint, DecoderListener } from './span-decoder.js';
import { MAX_SPAN_SIZE } from './span-limits.js';

/** One third the size at a fifth of the time of the best level, which saves another 3 %. */
const WINDOW_LEVEL = 2;

/** Stores one span; `window` is raw deflate. */
export type SpanWriter = (span: RecordedSpan, window: Buffer | undefined) => void;

export interface RecordedSpan {
  number: number;
  tarOffset: number;
  blobOffset: number;
  blobLength: number;
  bits: number;
  skip: number;
  digest: Buffer;
}

export class SpanRecorder implements DecoderListener {
  readonly #write: SpanWriter;
  readonly #consume: (bytes: Buffer) => void;
  readonly #tarHash: Hash = createHash('sha256');
  #spanHash: Hash = createHash('sha256');
  #current: { start: Checkpoint; tarOffset: number } | undefined;
  #next: Checkpoint | undefined;
  #count = 0;
  #tarOffset = 0;

  /** `consume` takes the bytes of the tar after they are hashed. */
  constructor(write: SpanWriter, consume: (bytes: Buffer) => void) {
    this.#write = write;
    this.#consume = consume;
  }

  get tarSize(): number {
    return this.#tarOffset;
  }

  get spanCount(): number {
    return this.#count;
  }

  checkpoint(at: Checkpoint): void {
    this.#next ??= at;
  }

  output(bytes: Buffer): void {
    if (this.#next !== undefined) this.#begin(this.#next);
    this.#tarHash.update(bytes);
    this.#spanHash.update(bytes);
    this.#tarOffset += bytes.length;
    this.#checkSize();
    this.#consume(bytes);
  }

  /** Ends the last span, whose bytes in the blob end at `blobEnd`; returns the sha256 of the tar. */
  finish(blobEnd: number): Buffer {
    this.#end(blobEnd);
    return this.#tarHash.digest();
  }

  #begin(start: Checkpoint): void {
    this.#end(start.previousEnd);
    this.#next = undefined;
    this.#current = { start, tarOffset: this.#tarOffset };
    this.#spanHash = createHash('sha256');
  }

  #end(blobEnd: number): void {
    if (this.#current === undefined) return;
    const { start, tarOffset } = this.#current;
    const span = {
      number: this.#count++,
      tarOffset,
      blobOffset: start.blobOffset,
      blobLength: blobEnd - start.blobOffset,
      bits: start.bits,
      skip: 0,
      digest: this.#spanHash.digest(),
    };
    if (span.blobLength > MAX_SPAN_SIZE) throw tooLarge(span.blobLength);
    this.#write(span, start.window && deflateRawSync(start.window, { level: WINDOW_LEVEL }));
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

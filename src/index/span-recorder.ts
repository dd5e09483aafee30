/**
 * The bytes of the tar on their way: hashed, with each span and its window written down. A
 * span begins with the first byte after its checkpoint, so none is empty. The digests come in the end; so does,
 * for spans that share an entry point, where their bytes of the blob end.
 */

import { SiphonError } from '../common/errors.js';
import type { Checkpoint, DecoderListener } from './decoder-model.js';
import type { RunningDigests } from './layer-digests.js';
import { WindowPacker } from './pack-window.js';
import type { Blocks } from './sparse-window.js';
import { MAX_GROUP_SIZE, MAX_SPAN_SIZE } from './span-limits.js';

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

export class SpanRecorder implements DecoderListener, Disposable {
  readonly #digests: RunningDigests;
  readonly #writeWindow: WindowWriter;
  readonly #consume: (bytes: Buffer) => void;
  /** Those of the groups that have ended. */
  readonly #spans: UnhashedSpan[] = [];
  #entry: Checkpoint | undefined;
  /** Where each span of the present group begins. */
  #starts: number[] = [];
  #window: Buffer | undefined;
  #next: Checkpoint | undefined;
  #nextWindow: Buffer | undefined;
  #splits = false;
  #packer: WindowPacker | undefined;
  #tarOffset = 0;

  /** `consume` takes the bytes of the tar. */
  constructor(
    digests: RunningDigests,
    writeWindow: WindowWriter,
    consume: (bytes: Buffer) => void,
  ) {
    this.#digests = digests;
    this.#writeWindow = writeWindow;
    this.#consume = consume;
  }

  get tarSize(): number {
    return this.#tarOffset;
  }

  checkpoint(at: Checkpoint): void {
    this.#next ??= at;
  }

  window(bytes: Buffer, blocks: Blocks): void {
    this.#packer ??= new WindowPacker();
    this.packedWindow(this.#packer.pack(bytes, blocks));
  }

  /** Of the span to come, or of the one that has just begun. */
  packedWindow(bytes: Buffer): void {
    const packed = Buffer.from(bytes);
    if (this.#next === undefined) this.#window = packed;
    else this.#nextWindow ??= packed;
  }

  split(): void {
    this.#splits = true;
  }

  output(bytes: Buffer): void {
    if (this.#next !== undefined) this.#begin(this.#next);
    else if (this.#splits) this.#beginSpan();
    this.#splits = false;
    this.#digests.updateTar(bytes);
    this.#tarOffset += bytes.length;
    this.#checkSize();
    this.#consume(bytes);
  }

  /** Ends the last span, whose bytes in the blob end at `blobEnd`; returns all of them. */
  finish(blobEnd: number): UnhashedSpan[] {
    this.#endGroup(blobEnd);
    return this.#spans;
  }

  [Symbol.dispose](): void {
    this.#packer?.[Symbol.dispose]();
    this.#packer = undefined;
  }

  #begin(start: Checkpoint): void {
    this.#endGroup(start.previousEnd);
    this.#entry = start;
    this.#window = this.#nextWindow;
    this.#next = undefined;
    this.#nextWindow = undefined;
    this.#beginSpan();
  }

  #beginSpan(): void {
    this.#digests.endSpan();
    this.#starts.push(this.#tarOffset);
  }

  #endGroup(blobEnd: number): void {
    if (this.#entry === undefined) return;
    const { blobOffset, bits } = this.#entry;
    const blobLength = blobEnd - blobOffset;
    if (this.#starts.length === 1 && blobLength > MAX_SPAN_SIZE) throw tooLarge(blobLength);
    if (this.#window !== undefined) this.#writeWindow(this.#spans.length, this.#window);
    const [groupStart = 0] = this.#starts;
    for (const tarOffset of this.#starts) {
      const [number, skip] = [this.#spans.length, tarOffset - groupStart];
      this.#spans.push({ number, tarOffset, blobOffset, blobLength, bits, skip });
    }
    this.#starts = [];
    this.#entry = undefined;
  }

  #checkSize(): void {
    const size = this.#tarOffset - (this.#starts.at(-1) ?? 0);
    if (size > MAX_SPAN_SIZE) throw tooLarge(size);
    const groupSize = this.#tarOffset - (this.#starts[0] ?? 0);
    if (groupSize > MAX_GROUP_SIZE) throw tooLarge(groupSize, MAX_GROUP_SIZE);
  }
}

function tooLarge(size: number, limit = MAX_SPAN_SIZE): SiphonError {
  return new SiphonError(
    'unsupported',
    `Cannot index layer: ${size} bytes of it can only be read together, expected at most ${limit}`,
  );
}

/**
 * A layer blob as it streams by, turned into the bytes of its tar, with the places from which decoding
 * can start again ("checkpoints").
 *
 * A deflate stream can be entered between two of its blocks if three things are known: the bit where the
 * block begins, which need not be the first of a byte; and the 32 KiB of output before it, which the
 * block may copy from (the window). zlib stops at such places when asked with `Z_BLOCK`, which costs time
 * at each, so it is asked only from `spanSize` bytes of output on; the first one then becomes a checkpoint.
 * The start of a gzip member needs no window, and any other only what of it the blocks copy: so it is told with
 * the blocks, once enough of them have come. For zstd see {@link ZstdDecoder}.
 */

import { SiphonError } from '../common/errors.js';
import { Inflate, WINDOW_SIZE, Z } from '../ffi/zlib.js';
import type { DecoderListener, DecoderOptions, SpanDecoder } from './decoder-model.js';
import type { Compression } from './layer-model.js';
import { SPARSE_INPUT } from './sparse-window.js';
import { ZstdDecoder } from './zstd-decoder.js';

export function spanDecoder(
  compression: Compression,
  listener: DecoderListener,
  options: DecoderOptions,
): SpanDecoder {
  switch (compression) {
    case 'gzip':
      return new GzipDecoder(listener, options);
    case 'zstd':
      return new ZstdDecoder(listener, options);
    case 'none':
      return new PlainDecoder(listener, options.spanSize);
  }
}

const GZIP_MAGIC = 0x1f;

/** A checkpoint whose window is not told yet. */
interface Open {
  window: Buffer;
  bits: number;
  /** The blob from the checkpoint on, as far as it came in earlier chunks. */
  earlier: Buffer;
  /** Where it goes on in the present chunk. */
  at: number;
}

class GzipDecoder implements SpanDecoder {
  readonly #listener: DecoderListener;
  readonly #options: DecoderOptions;
  readonly #inflate = new Inflate('gzip');
  #open: Open | undefined;
  #output: Buffer;
  #filled = 0;
  #handedOn = 0;
  #chunk: Buffer = Buffer.alloc(0);
  /** Bytes of the blob before the present chunk. */
  #base = 0;
  #place: 'start' | 'member' | 'between' | 'padding' = 'start';
  #memberEnd = 0;
  /** Of the chunk before. */
  #lastByte = 0;
  /** Output since the last checkpoint. */
  #sinceCheckpoint = Number.POSITIVE_INFINITY;

  constructor(listener: DecoderListener, options: DecoderOptions) {
    this.#listener = listener;
    this.#options = options;
    this.#output = options.nextOutput();
    this.#startMember();
  }

  push(bytes: Buffer): void {
    this.#chunk = bytes;
    this.#inflate.setInput(bytes);
    while (this.#enterMember() && this.#step());
    this.#handOn();
    this.#keepInput();
    this.#base += bytes.length;
  }

  finish(): number {
    if (this.#place === 'start' || this.#place === 'member') {
      throw new SiphonError(
        'corrupt',
        `Cannot inflate layer: it ends at byte ${this.#base} in the middle of the gzip data, expected more`,
      );
    }
    return this.#memberEnd;
  }

  close(): void {
    this.#inflate.close();
  }

  /** Whether there is a member to go on with; skips what may stand between members. */
  #enterMember(): boolean {
    if (this.#place === 'start') this.#place = 'member';
    if (this.#place === 'member') return true;
    const rest = this.#chunk.subarray(this.#chunk.length - this.#inflate.inputLeft);
    if (rest.length === 0) return false;
    if (this.#place === 'between' && rest[0] === GZIP_MAGIC) {
      this.#startMember();
      this.#place = 'member';
      return true;
    }
    this.#skipPadding(rest);
    return false;
  }

  #startMember(): void {
    this.#inflate.reset('gzip');
    if (!this.#options.checksums) this.#inflate.skipChecksums();
  }

  #skipPadding(rest: Buffer): void {
    this.#place = 'padding';
    const other = rest.findIndex((byte) => byte !== 0);
    if (other === -1) return;
    const at = this.#base + this.#chunk.length - rest.length + other;
    throw new SiphonError(
      'corrupt',
      `Cannot inflate layer: byte ${at} follows the end of the gzip data, expected another member, zeros or nothing`,
    );
  }

  /**
   * Decodes up to where a boundary would become a checkpoint, or to the next boundary from there on; false
   * where that takes more input.
   */
  #step(): boolean {
    const room = this.#output.subarray(this.#filled);
    // One byte less, so that a boundary at exactly `spanSize` is not run over.
    const early = this.#options.spanSize - 1 - this.#sinceCheckpoint;
    const output = early > 0 ? room.subarray(0, early) : room;
    this.#inflate.setOutput(output);
    const code = this.#inflate.run(early > 0 ? Z.NO_FLUSH : Z.BLOCK);
    const isFull = this.#inflate.outputLeft === 0;
    this.#count(output.length - this.#inflate.outputLeft);
    if (code !== Z.OK && code !== Z.BUF_ERROR && code !== Z.STREAM_END) throw this.#damaged();
    if (code === Z.STREAM_END || this.#sinceCheckpoint >= WINDOW_SIZE) this.#tellWindow();
    if (code === Z.STREAM_END) {
      this.#place = 'between';
      this.#memberEnd = this.#consumed();
      return true;
    }
    const { atBoundary, last, bits } = this.#inflate.position;
    const isCheckpoint = atBoundary && !last && this.#sinceCheckpoint >= this.#options.spanSize;
    if (isCheckpoint) this.#checkpoint(bits);
    return atBoundary || isFull || this.#inflate.inputLeft > 0;
  }

  #count(length: number): void {
    this.#sinceCheckpoint += length;
    this.#filled += length;
    if (this.#filled < this.#output.length) return;
    this.#handOn();
    this.#output = this.#options.nextOutput();
    this.#filled = 0;
    this.#handedOn = 0;
  }

  #checkpoint(bits: number): void {
    this.#handOn();
    this.#sinceCheckpoint = 0;
    const consumed = this.#consumed();
    const window = this.#inflate.window();
    const startsMember = window.length === 0;
    this.#listener.checkpoint({
      blobOffset: bits === 0 ? consumed : consumed - 1,
      bits,
      previousEnd: startsMember ? this.#memberEnd : consumed,
    });
    if (!startsMember) this.#open = this.#opened(window, bits);
  }

  /** The byte that holds the first bits may be the last of the chunk before. */
  #opened(window: Buffer, bits: number): Open {
    const at = this.#chunk.length - this.#inflate.inputLeft - (bits === 0 ? 0 : 1);
    const earlier = at < 0 ? Buffer.of(this.#lastByte) : Buffer.alloc(0);
    return { window, bits, earlier, at: Math.max(0, at) };
  }

  #tellWindow(): void {
    if (this.#open === undefined) return;
    const { window, bits, earlier, at } = this.#open;
    this.#open = undefined;
    const rest = this.#chunk.subarray(at, at + SPARSE_INPUT - earlier.length);
    const input = earlier.length === 0 ? rest : Buffer.concat([earlier, rest]);
    this.#listener.window(window, { input, bits });
  }

  /** The chunk is the caller's again. */
  #keepInput(): void {
    this.#lastByte = this.#chunk.at(-1) ?? this.#lastByte;
    if (this.#open === undefined) return;
    const { earlier, at } = this.#open;
    const rest = this.#chunk.subarray(at, at + SPARSE_INPUT - earlier.length);
    this.#open.earlier = Buffer.concat([earlier, rest]);
    this.#open.at = 0;
    if (this.#open.earlier.length === SPARSE_INPUT) this.#tellWindow();
  }

  #consumed(): number {
    return this.#base + this.#chunk.length - this.#inflate.inputLeft;
  }

  /** Passes on what is decoded and not yet passed on. */
  #handOn(): void {
    if (this.#filled === this.#handedOn) return;
    this.#listener.output(this.#output.subarray(this.#handedOn, this.#filled));
    this.#handedOn = this.#filled;
  }

  #damaged(): SiphonError {
    return new SiphonError(
      'corrupt',
      `Cannot inflate layer: damaged gzip data near byte ${this.#consumed()} (${this.#inflate.message})`,
    );
  }
}

class PlainDecoder implements SpanDecoder {
  readonly #spanSize: number;
  readonly #listener: DecoderListener;
  #offset = 0;

  constructor(listener: DecoderListener, spanSize: number) {
    this.#listener = listener;
    this.#spanSize = spanSize;
  }

  push(bytes: Buffer): void {
    for (let at = 0; at < bytes.length;) {
      const inSpan = this.#offset % this.#spanSize;
      if (inSpan === 0) {
        const start = {
          blobOffset: this.#offset,
          bits: 0,
          previousEnd: this.#offset,
        };
        this.#listener.checkpoint(start);
      }
      const piece = bytes.subarray(at, at + this.#spanSize - inSpan);
      this.#listener.output(piece);
      at += piece.length;
      this.#offset += piece.length;
    }
  }

  finish(): number {
    return this.#offset;
  }

  close(): void {
    // Holds nothing.
  }
}

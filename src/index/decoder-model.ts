/**
 * Decoders come in two kinds. One takes a blob as it streams by and tells where decoding could start
 * again ({@link SpanDecoder}); the other starts at such a place and asks for what it needs
 * ({@link StreamDecoder}).
 */

import type { TarDigests } from './layer-digests.js';
import type { Blocks } from './sparse-window.js';

/** A place from which decoding can start. */
export interface Checkpoint {
  /** First byte of the blob that holds any of the bits from here on. */
  blobOffset: number;
  /** How many high bits of that byte are meant; 0 means all of it. */
  bits: number;
  /** Where the bytes needed before this place end; beyond `blobOffset` where they share a byte. */
  previousEnd: number;
}

export interface DecoderListener {
  /** Next bytes of the tar; valid during the call only. */
  output(bytes: Buffer): void;
  /** The next output begins at this place. */
  checkpoint(at: Checkpoint): void;
  /** The output before the last checkpoint, and the blocks behind it; comes before the next one. Valid during the call only. */
  window(bytes: Buffer, blocks: Blocks): void;
  /** The same where it has been made what the index stores. */
  packedWindow(bytes: Buffer): void;
  /** The next output begins another span, which decoding reaches from the last checkpoint only. */
  split(): void;
}

export interface SpanDecoder {
  /** Where it sees to the digests of what it decodes. */
  readonly digests?: TarDigests | undefined;
  /** Takes the next bytes, which must not change until it is called {@link DECODER_LAG} times more, or finished. */
  push(bytes: Buffer): void;
  /** Says that no more comes; returns where the meaningful bytes of the blob ended. */
  finish(): number;
  close(): void;
}

export interface DecoderOptions {
  spanSize: number;
  /** Gives memory of {@link OUTPUT_SIZE} for output; what was given before may be read yet. */
  nextOutput: () => Buffer;
  /** Whether to check the checksums that the format has. */
  checksums: boolean;
}

/** How many pieces of the blob a decoder may be behind, so that it never waits for one. */
export const DECODER_LAG = 3;

/** Output is handed on in pieces of this size, which stay in the processor's cache. */
export const OUTPUT_SIZE = 256 * 1024;

/** The next compressed bytes, which stay as they are until more are asked for; `undefined` at the end. */
export type PieceSource = () => Promise<Buffer | undefined>;

/** How decoding begins. */
export interface EntryPoint {
  /** How many high bits of the first byte are meant; 0 means the whole byte. */
  bits: number;
  /** Decoded bytes before. */
  window: Buffer | undefined;
}

/** At the first byte of a blob. */
export const LAYER_START: EntryPoint = { bits: 0, window: undefined };

/** Decodes on threads of libuv's pool. */
export interface StreamDecoder extends Disposable {
  /**
   * Writes the next bytes to `output`: as many as it takes, fewer only at the end. Returns their number.
   * @throws SiphonError `corrupt`; and what the source of the pieces throws
   */
  fill(output: Buffer): Promise<number>;
}

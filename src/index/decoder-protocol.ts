/**
 * What {@link DecoderThread} and its worker share: two rings of records, and memory for what is decoded. Errors
 * go by a port, and so does each job.
 */

import type { MessagePort } from 'node:worker_threads';
import { WINDOW_SIZE } from '../ffi/zlib.js';
import type { Compression } from './layer-model.js';
import { OUTPUT_SIZE } from './decoder-model.js';
import { SPARSE_INPUT } from './sparse-window.js';

/** `workerData` of the worker. */
export interface DecoderLink {
  orders: SharedArrayBuffer;
  events: SharedArrayBuffer;
  /** Of the worker, which says there which thread it is. */
  life: SharedArrayBuffer;
  port: MessagePort;
}

/** Memory for the digests that two threads compute together. */
export interface DigestMemory {
  pair: SharedArrayBuffer;
  progress: SharedArrayBuffer;
}

export interface DecoderJob {
  /** Where the thread takes part in hashing what it decodes. */
  digests: DigestMemory | undefined;
  /** Holds what is decoded, {@link DECODER_MEMORY} from `memoryOffset` on, and all that is to be decoded. */
  arena: SharedArrayBuffer;
  memoryOffset: number;
  compression: Compression;
  spanSize: number;
  checksums: boolean;
}

/** Records to the worker: what, and its bytes' offset and length in the arena. */
export const ORDER = { begin: 0, push: 1, finish: 2, close: 3 } as const;

/**
 * Records from the worker. Output: offset and length in the arena. Checkpoint: its offset in the blob, bits
 * and previous end. Window: its offset and length in the arena, the length of the blocks behind it, and their bits. Packed window: offset
 * and length in the arena. Taken: an order to push is done. Finished: what
 * {@link SpanDecoder.finish} returns. Failed: the error is at the port.
 */
export const EVENT = {
  output: 0,
  checkpoint: 1,
  window: 2,
  split: 3,
  taken: 4,
  finished: 5,
  failed: 6,
  packedWindow: 7,
} as const;

/** How far the decoder may be ahead, in pieces of output and in windows. */
export const OUTPUTS = 16;
export const WINDOWS = 4;
/** A window, and the blocks behind it. */
export const WINDOW_ROOM = WINDOW_SIZE + SPARSE_INPUT;
/** Records that the other thread is behind, from which on windows are packed by the decoder. */
export const AHEAD = OUTPUTS / 2;
export const DECODER_MEMORY = OUTPUTS * OUTPUT_SIZE + WINDOWS * WINDOW_ROOM;

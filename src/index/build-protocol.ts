/** What {@link buildIndex} and its worker say to each other; the blob itself is in memory that they share. */

import type { ExpectedLayer } from './expected-layer.js';

/** What the worker is to do. */
export interface BuildJob {
  path: string;
  spanSize: number | undefined;
  expected: ExpectedLayer | undefined;
  /** The blocks, and the decoder's memory behind them. */
  arena: SharedArrayBuffer;
  because: string | undefined;
}

/** The blob travels in blocks of this size, all full but the last. */
export const BLOCK_SIZE = 512 * 1024;
/** Blocks under way: 4 MiB between the threads. */
export const BLOCKS = 8;

export type ToBuilder =
  /** The `length` bytes at `offset` of the arena are the next of the blob. */
  { kind: 'bytes'; offset: number; length: number } | { kind: 'end' };

/** The block at `offset` of the arena can be filled again. */
export interface BlockTaken {
  offset: number;
}

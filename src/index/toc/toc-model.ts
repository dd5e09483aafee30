/** A table of contents that came with a layer, as plain values, whatever format it had. */

import type { EntryType, TarEntry } from '../tar-entry.js';

/** Bytes of one file that are decoded and verified as a whole. */
export interface TocChunk {
  /** Where they belong in the file, and how many they are; at least one. */
  fileOffset: number;
  size: number;
  /** Where the gzip member or zstd frame begins that holds them. */
  blobOffset: number;
  /** Decoded bytes of that member before the chunk. */
  skip: number;
  /** Raw sha256 of the decoded bytes. */
  digest: Buffer;
}

export interface TocEntry {
  /** As a tar would have it; the size is that of the whole file. */
  entry: TarEntry;
  /** Of a file, in its order and without overlap; what none of them covers is zeros. */
  chunks: readonly TocChunk[];
}

/** The words that every format has for the types of entries. */
export const entryTypes: ReadonlyMap<unknown, EntryType> = new Map([
  ['reg', 'file'],
  ['dir', 'directory'],
  ['symlink', 'symlink'],
  ['hardlink', 'hardlink'],
  ['char', 'character'],
  ['block', 'block'],
  ['fifo', 'fifo'],
]);

/** A table of contents as it was fetched, with all that is needed to check and to use it. */

import type { Digest, DiffId } from '../../common/digest.js';

/** Whatever a table unpacks to has to fit into memory, several times over; this is a million files. */
export const MAX_TOC_SIZE = 256 << 20;

export type PackedToc = StargzToc | ZstdChunkedToc | SociToc;

export interface StargzToc {
  format: 'estargz';
  /** The gzip member that holds it. */
  bytes: Uint8Array;
  /** Of the JSON in it. */
  digest: Digest;
  /** Where the members of the tar end. */
  payloadEnd: number;
}

export interface ZstdChunkedToc {
  format: 'zstd-chunked';
  /** The zstd frame that holds it; already compared with the digest in the manifest. */
  bytes: Uint8Array;
  /** Bytes that it decompresses to. */
  size: number;
  payloadEnd: number;
}

export interface SociToc {
  format: 'soci';
  /** The zTOC, already compared with the digest in its index. */
  bytes: Uint8Array;
  /** Whether the blob's gzip header is one without options. */
  hasPlainHeader: boolean;
}

/** What the layer is that the table is said to describe. */
export interface TocLayer {
  blobDigest: Digest;
  blobSize: number;
  diffId: DiffId;
}

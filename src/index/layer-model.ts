/** What an index says about a layer: plain values, no storage. */

import type { Digest, DiffId } from '../common/digest.js';

/** Inode number of the layer's root directory. */
export const rootIno = 1;

/** Facts about the whole layer. Sizes in bytes. */
export interface LayerInfo {
  formatVersion: number;
  compression: Compression;
  format: LayerFormat;
  /** One line for people: what the format was recognised by. */
  formatReason: string;
  digestOf: DigestSubject;
  blobDigest: Digest;
  blobSize: number;
  diffId: DiffId;
  /** Where the spans end; for a tar that is covered whole, its size. */
  tarSize: number;
  spanSize: number;
  spanCount: number;
  entryCount: number;
  inodeCount: number;
  /** Whether any inode has an xattr, opaque marks included. */
  hasXattrs: boolean;
  /** Whether the tar has an entry for the root itself; without one its attributes are made up. */
  hasRootEntry: boolean;
  /** The layer's maker says that what lies before this tar offset is read first; 0 where nothing is said. */
  prefetchEnd: number;
}

export const COMPRESSIONS = ['gzip', 'zstd', 'none'] as const;
export type Compression = (typeof COMPRESSIONS)[number];

/** What described the layer: our own pass over it, or a table of contents that came with it. */
export const LAYER_FORMATS = ['siphon', 'estargz', 'zstd-chunked', 'soci'] as const;
export type LayerFormat = (typeof LAYER_FORMATS)[number];

/**
 * What the digests of the spans are of: their bytes of the tar, or their bytes of the blob. `none`: they have
 * none, since only the headers of an uncompressed layer were read.
 */
export const DIGEST_SUBJECTS = ['tar', 'blob', 'none'] as const;
export type DigestSubject = (typeof DIGEST_SUBJECTS)[number];

export interface Inode {
  ino: number;
  /** Type bits (`S_IFMT`) and permission bits. */
  mode: number;
  nlink: number;
  uid: number;
  gid: number;
  size: number;
  mtimeSeconds: number;
  /** 0 to 999,999,999, added to the seconds also where those are negative. */
  mtimeNanoseconds: number;
  rdevMajor: number;
  rdevMinor: number;
}

/** All zeros, to be filled in. */
export const blankInode: Readonly<Inode> = {
  ino: 0,
  mode: 0,
  nlink: 0,
  uid: 0,
  gid: 0,
  size: 0,
  mtimeSeconds: 0,
  mtimeNanoseconds: 0,
  rdevMajor: 0,
  rdevMinor: 0,
};

export interface DirectoryEntry {
  name: Buffer;
  /** 1-based place in the directory; never changes. */
  position: number;
  inode: Inode;
}

/** A piece of a file: bytes of the tar, or zeros that are nowhere stored. */
export type Segment =
  { kind: 'data'; tarOffset: number; length: number } | { kind: 'hole'; length: number };

/**
 * A stretch of the tar, and the place in the blob from which decoding it starts (its entry point). Spans
 * that share one are a group: they follow one another, differ in `skip`, and are decoded in one pass.
 *
 * Spans cover the tar without gaps. The tar's offsets may be made up, though: where a table of contents
 * describes the blob, its chunks simply follow one another, and what lies between them in the blob is
 * never read.
 */
export interface Span {
  number: number;
  tarOffset: number;
  tarLength: number;
  /** First byte of the blob that holds any bits from the entry point on. */
  blobOffset: number;
  /** Bytes of the blob from there that decoding takes; those of a group have the same. */
  blobLength: number;
  /** How many high bits of the first byte are meant; 0 means the whole byte. */
  bits: number;
  /** Decoded bytes between the entry point and the span; 0 but in groups. */
  skip: number;
  /** Raw sha256 of what {@link LayerInfo.digestOf} says; zeros where it is of nothing. */
  digest: Buffer;
}

export interface SpanRange {
  first: number;
  /** Inclusive. */
  last: number;
}

/** What an index says about a layer: plain values, no storage. */

import type { Digest, DiffId } from '../common/digest.js';

/** Inode number of the layer's root directory. */
export const rootIno = 1;

/** Facts about the whole layer. Sizes in bytes. */
export interface LayerInfo {
  formatVersion: number;
  compression: Compression;
  blobDigest: Digest;
  blobSize: number;
  diffId: DiffId;
  tarSize: number;
  spanSize: number;
  spanCount: number;
  entryCount: number;
  inodeCount: number;
  /** Whether any inode has an xattr, opaque marks included. */
  hasXattrs: boolean;
  /** Whether the tar has an entry for the root itself; without one its attributes are made up. */
  hasRootEntry: boolean;
}

export type Compression = 'gzip' | 'none';

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

export interface DirectoryEntry {
  name: Buffer;
  /** 1-based place in the directory; never changes. */
  position: number;
  inode: Inode;
}

/** A piece of a file: bytes of the tar, or zeros that are nowhere stored. */
export type Segment =
  { kind: 'data'; tarOffset: number; length: number } | { kind: 'hole'; length: number };

/** A stretch of the tar that can be had without anything before it. */
export interface Span {
  number: number;
  tarOffset: number;
  tarLength: number;
  /** First byte of the blob that holds any of the span's bits. */
  blobOffset: number;
  blobLength: number;
  /** How many high bits of the first byte belong to the span; 0 means the whole byte. */
  bits: number;
  /** Raw sha256 of the uncompressed bytes. */
  digest: Buffer;
}

/**
 * The tree of a layer while its entries come: nodes by number, names by directory. Numbers are given in order of
 * appearance; those of replaced entries leave gaps, which the index closes. A tree lies in memory ({@link MemoryTree}) until it
 * is large, then in a file ({@link StagingTree}); {@link SpillingTree} sees to that.
 */

import { SiphonError } from '../common/errors.js';
import { S_IF, S_ISGID } from './modes.js';
import type { StoredPiece } from './sparse.js';
import { type ByteString, printable } from './tar-header.js';

/** What an entry says of its inode. */
export interface NodeAttributes {
  mode: number;
  uid: number;
  gid: number;
  mtimeSeconds: number;
  mtimeNanoseconds: number;
}

export interface NewNode extends NodeAttributes {
  size: number;
  rdevMajor: number;
  rdevMinor: number;
  /** Tar offset of a file's content; none where it is sparse. */
  dataOffset: number | null;
  /** Of a symlink. */
  target: ByteString | null;
  /** Whether it is a directory that no entry of the tar describes. */
  isImplicit: boolean;
}

export interface Child {
  readonly ino: number;
  readonly mode: number;
}

/** One of the pieces that a sparse file has in the tar. */
export interface Extent {
  fileOffset: number;
  tarOffset: number;
  length: number;
}

/** The root is there from the beginning. */
export interface GrowingTree {
  /** How many inodes there are; also the count of distinct numbers the index will have. */
  readonly nodeCount: number;
  find(parent: number, name: ByteString): Child | undefined;
  /** @throws TypeError where there is none */
  node(ino: number): Child;
  /** Of a symlink. */
  target(ino: number): ByteString;
  /** Group of what is made in a directory: that of root, unless the directory hands on its own. */
  inheritedGroup(directory: number): number;
  /** Adds a new inode under a name that must be free; returns its number. */
  add(parent: number, name: ByteString, node: NewNode): number;
  /** Adds a further name of an inode that is no directory. @throws SiphonError `invalid` where it has too many */
  link(parent: number, name: ByteString, ino: number): void;
  /** The inode is described from here on. */
  setAttributes(ino: number, attributes: NodeAttributes): void;
  setXattr(ino: number, name: ByteString, value: ByteString): void;
  /** Says where the pieces of a sparse file lie, in order. */
  setExtents(ino: number, extents: readonly Extent[]): void;
  /** Takes a name away, with everything below it; inodes without a name go. */
  remove(parent: number, name: ByteString, child: Child): void;
}

/** A directory that nothing describes: what containerd creates for missing parents. */
export const IMPLICIT_DIRECTORY: NewNode = {
  mode: S_IF.DIR | 0o755,
  uid: 0,
  gid: 0,
  mtimeSeconds: 0,
  mtimeNanoseconds: 0,
  size: 0,
  rdevMajor: 0,
  rdevMinor: 0,
  dataOffset: null,
  target: null,
  isImplicit: true,
};

/** The kernel counts links in 32 bits and file systems allow 65,000; more is an attack. */
const MAX_LINKS = 1_000_000;

/** @throws SiphonError `invalid` where a file has more names than any needs, `name` being the last */
export function checkLinks(count: number, name: ByteString): void {
  if (count <= MAX_LINKS) return;
  throw new SiphonError(
    'invalid',
    `Cannot link "${printable(name)}": its file has more than ${MAX_LINKS} names`,
  );
}

/** As {@link GrowingTree.inheritedGroup}, of a directory with these attributes. */
export function groupHandedOn({ mode, gid }: { mode: number; gid: number }): number {
  return (mode & S_ISGID) === 0 ? 0 : gid;
}

/** Where stored pieces lie that follow one another from `tarOffset` on. */
export function extentsOf(pieces: readonly StoredPiece[], tarOffset: number): Extent[] {
  let at = tarOffset;
  return pieces.map(({ offset, length }) => {
    const extent = { fileOffset: offset, tarOffset: at, length };
    at += length;
    return extent;
  });
}

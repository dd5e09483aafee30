/** A row about an inode, as every query gives it, checked. */

import { SiphonError } from '../common/errors.js';
import type { Inode } from './layer-model.js';

/** Columns of an inode, in this order in every query; there the table is called `i`. */
export type InodeRow = [
  ino: number,
  mode: number,
  nlink: number,
  uid: number,
  gid: number,
  size: number,
  mtime: number,
  mtimeNanoseconds: number,
  rdevMajor: number,
  rdevMinor: number,
];

export const INODE =
  'i.ino, i.mode, i.nlink, i.uid, i.gid, i.size, i.mtime, i.mtime_nsec, i.rdev_major, i.rdev_minor';

/** @throws SiphonError `corrupt` for values that no file can have */
export function toInode(row: readonly [...InodeRow, ...unknown[]]): Inode {
  const inode: Inode = {
    ino: row[0],
    mode: row[1],
    nlink: row[2],
    uid: row[3],
    gid: row[4],
    size: row[5],
    mtimeSeconds: row[6],
    mtimeNanoseconds: row[7],
    rdevMajor: row[8],
    rdevMinor: row[9],
  };
  if (!isPossible(inode))
    throw new SiphonError(
      'corrupt',
      `Cannot read index: inode ${inode.ino} has values that no file has`,
    );
  return inode;
}

function isPossible(inode: Inode): boolean {
  return (
    isUint32(inode.ino) &&
    isUint32(inode.mode) &&
    isUint32(inode.nlink) &&
    isUint32(inode.uid) &&
    isUint32(inode.gid) &&
    isUint32(inode.rdevMajor) &&
    isUint32(inode.rdevMinor) &&
    inode.mtimeNanoseconds >= 0 &&
    inode.mtimeNanoseconds < 1_000_000_000 &&
    Number.isSafeInteger(inode.mtimeSeconds) &&
    Number.isSafeInteger(inode.size) &&
    inode.size >= 0
  );
}

function isUint32(value: number): boolean {
  return value >>> 0 === value;
}

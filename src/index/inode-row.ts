/** A row about an inode, as every query gives it, checked. */

import { IndexDamage, shown } from './index-damage.js';
import { type Inode, blankInode } from './layer-model.js';

/**
 * Columns of an inode, in this order in every query; there the table is called `i`. They are numbers once
 * {@link toInode} has looked at them.
 */
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

/** @throws IndexDamage for values that no file can have */
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
  if (!isPossible(inode)) throw impossible(inode);
  return inode;
}

const MAX_NANOSECONDS = 999_999_999;

function isPossible(inode: Inode): boolean {
  return (
    isUint32(inode.ino) &&
    isUint32(inode.mode) &&
    isUint32(inode.nlink) &&
    isUint32(inode.uid) &&
    isUint32(inode.gid) &&
    isUint32(inode.rdevMajor) &&
    isUint32(inode.rdevMinor) &&
    isUint32(inode.mtimeNanoseconds) &&
    inode.mtimeNanoseconds <= MAX_NANOSECONDS &&
    Number.isSafeInteger(inode.mtimeSeconds) &&
    Number.isSafeInteger(inode.size) &&
    inode.size >= 0
  );
}

/** Looked for again, so that what is possible is found to be so soon. */
function impossible(inode: Inode): IndexDamage {
  const of: Readonly<Record<string, unknown>> = { ...inode };
  const names = Object.keys(of);
  const wrong = names.find((name) => !isPossible({ ...blankInode, [name]: of[name] })) ?? 'ino';
  return new IndexDamage(
    `the ${wrong} of inode ${shown(inode.ino)} is ${shown(of[wrong])}, expected one that a file can have`,
  );
}

function isUint32(value: number): boolean {
  return value >>> 0 === value;
}

/** What an index holds, as plain rows for people and programs to look at. */

import { MAX_DEPTH } from '../index/byte-path.js';
import { depthFirst } from '../index/depth-first.js';
import { type Inode, LayerIndex, rootIno } from '../index/layer-index.js';
import { entriesOf } from '../index/list-directory.js';
import { isDirectory } from '../index/modes.js';

export interface ListedEntry {
  /** From the root, without a leading slash; what is not UTF-8 is replaced. The root is `.`. */
  path: string;
  ino: number;
  /** Type and permission bits. */
  mode: number;
  nlink: number;
  uid: number;
  gid: number;
  /** Bytes. */
  size: number;
  /** Seconds since the epoch with nine digits behind the point, and a sign. */
  mtime: string;
  target?: string;
  /** Names only. */
  xattrs?: string[];
}

export interface ListedSpan {
  number: number;
  tarOffset: number;
  tarLength: number;
  blobOffset: number;
  blobLength: number;
  /** sha256 in hex. */
  digest: string;
}

/**
 * The whole tree, each folder before what is in it, names in order.
 * @throws SiphonError `corrupt` where there are more entries than the index says, or some are deeper than an
 * entry of a layer can be, since it goes round
 */
export function* listTree(indexPath: string): Generator<ListedEntry, undefined> {
  using index = LayerIndex.open(indexPath);
  const { entryCount } = index.info;
  const root = index.inode(rootIno);
  if (root === undefined) return undefined;
  yield describe(index, root, '.');
  let count = 0;
  const all = depthFirst(entriesIn(index, root.ino, ''), ({ inode, path }) =>
    isDirectory(inode.mode) ? entriesIn(index, inode.ino, `${path}/`) : undefined,
  );
  for (const { node, depth } of all) {
    if (++count > entryCount)
      throw index.damage(`it has more entries than the ${entryCount} that it says`);
    if (depth > MAX_DEPTH)
      throw index.damage(`it is more than ${MAX_DEPTH} folders deep, expected at most that`);
    yield describe(index, node.inode, node.path);
  }
  return undefined;
}

export function* listSpans(indexPath: string): Generator<ListedSpan, undefined> {
  using index = LayerIndex.open(indexPath);
  for (let n = 0; n < index.info.spanCount; n++) {
    const { number, tarOffset, tarLength, blobOffset, blobLength, digest } = index.span(n);
    yield { number, tarOffset, tarLength, blobOffset, blobLength, digest: digest.toString('hex') };
  }
  return undefined;
}

function* entriesIn(
  index: LayerIndex,
  ino: number,
  prefix: string,
): Generator<{ inode: Inode; path: string }, undefined> {
  for (const { name, inode } of entriesOf(index, ino))
    yield { inode, path: `${prefix}${name.toString()}` };
}

function describe(index: LayerIndex, inode: Inode, path: string): ListedEntry {
  const { ino, mode, nlink, uid, gid, size } = inode;
  const target = index.readlink(ino)?.toString();
  const xattrs = index.xattrNames(ino).map(String);
  return {
    path,
    ino,
    mode,
    nlink,
    uid,
    gid,
    size,
    mtime: timeOf(inode),
    ...(target === undefined ? {} : { target }),
    ...(xattrs.length === 0 ? {} : { xattrs }),
  };
}

/** The nanoseconds are added to the seconds, also to those below zero. */
function timeOf({ mtimeSeconds, mtimeNanoseconds }: Inode): string {
  const isEarly = mtimeSeconds < 0 && mtimeNanoseconds > 0;
  const seconds = isEarly ? mtimeSeconds + 1 : mtimeSeconds;
  const nanoseconds = isEarly ? 1_000_000_000 - mtimeNanoseconds : mtimeNanoseconds;
  const sign = isEarly && seconds === 0 ? '-' : '';
  return `${sign}${seconds}.${String(nanoseconds).padStart(9, '0')}`;
}

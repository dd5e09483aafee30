/** The large files of a layer, as its index has them. */

import { setImmediate } from 'node:timers/promises';
import { depthFirst } from '../index/depth-first.js';
import { type Inode, type LayerIndex, type Segment, rootIno } from '../index/layer-index.js';
import { entriesOf } from '../index/list-directory.js';
import { isDirectory, isRegular } from '../index/modes.js';
import type { ByteString } from '../index/tar-header.js';

export interface LargeFile {
  inode: Inode;
  /** All of its names. */
  paths: ByteString[];
  /** Its bytes, as far as any are stored; at least one. */
  pieces: Piece[];
}

type Piece = Extract<Segment, { kind: 'data' }> & { fileOffset: number };

/** Entries that are looked at before this thread hears whether anybody wants to know still. */
const ENTRIES = 1 << 14;

/** The files of at least `leastSize` bytes of which any are stored, with all of their names. */
export async function largeFiles(
  index: LayerIndex,
  leastSize: number,
  signal: AbortSignal,
): Promise<LargeFile[]> {
  const found = new Map<number, LargeFile>();
  let looks = 0;
  const folder = function* (ino: number, path: ByteString): Generator<Named> {
    for (const { name, inode } of entriesOf(index, ino)) {
      const text = name.toString('latin1');
      yield { path: path === '' ? text : `${path}/${text}`, inode };
    }
  };
  const seen = new Set<number>();
  const below = ({ path, inode }: Named): Generator<Named> | undefined => {
    if (!isDirectory(inode.mode)) return undefined;
    if (seen.has(inode.ino)) throw index.damage(`directory ${inode.ino} has several names`);
    seen.add(inode.ino);
    return folder(inode.ino, path);
  };
  for (const { node } of depthFirst(folder(rootIno, ''), below)) {
    const { path, inode } = node;
    if (++looks % ENTRIES === 0) {
      await setImmediate();
      signal.throwIfAborted();
    }
    if (!isRegular(inode.mode) || inode.size < leastSize) continue;
    const known = found.get(inode.ino);
    known?.paths.push(path);
    if (known !== undefined) continue;
    const pieces = piecesOf(index, inode);
    if (pieces.length > 0) found.set(inode.ino, { inode, paths: [path], pieces });
  }
  return [...found.values()];
}

interface Named {
  path: ByteString;
  inode: Inode;
}

function piecesOf(index: LayerIndex, { ino, size }: Inode): Piece[] {
  const pieces: Piece[] = [];
  let fileOffset = 0;
  for (const segment of index.segments(ino, 0, size)) {
    if (segment.kind === 'data') pieces.push({ ...segment, fileOffset });
    fileOffset += segment.length;
  }
  return pieces;
}

/** Whether any span of it is present. */
export function wasRead(
  index: LayerIndex,
  { pieces }: LargeFile,
  presence: SharedArrayBuffer,
): boolean {
  const present = new Uint8Array(presence);
  return pieces.some((piece) => spansOf(index, piece).some((span) => present[span] !== 0));
}

/** Those whose contents follow one another in the tar, as those of every tar do. */
export function inTarOrder(files: LargeFile[]): LargeFile[] {
  let end = 0;
  const isNext = ({ pieces }: LargeFile): boolean => {
    let at = end;
    for (const { tarOffset, length } of pieces) {
      if (tarOffset < at) return false;
      at = tarOffset + length;
    }
    end = at;
    return true;
  };
  return files.sort((a, b) => startOf(a) - startOf(b)).filter(isNext);
}

const startOf = ({ pieces }: LargeFile): number => pieces[0]?.tarOffset ?? 0;
/** Bytes that are stored. */
export const bytesOf = (pieces: readonly Piece[]): number =>
  pieces.reduce((sum, { length }) => sum + length, 0);

/** Numbers of the spans that a piece takes. */
export function spansOf(index: LayerIndex, { tarOffset, length }: Piece): number[] {
  const first = index.spanAt(tarOffset);
  const count = index.spanAt(tarOffset + length - 1) - first + 1;
  return Array.from({ length: count }, (_, at) => first + at);
}

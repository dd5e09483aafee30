/**
 * Compares what two indexes make of one blob, as whoever reads the layer would see it: names, attributes, which
 * names are one file, and every byte. Numbers and places may differ, for a table of contents has its own.
 */

import { readSync } from 'node:fs';
import { SiphonError } from '../common/errors.js';
import { depthFirst } from './depth-first.js';
import { type DirectoryEntry, type Inode, type LayerIndex, rootIno } from './layer-index.js';
import { entriesOf } from './list-directory.js';
import { isDirectory, isRegular } from './modes.js';

export interface LayerView {
  index: LayerIndex;
  /** Descriptor of a file that has the bytes at the index's tar offsets. */
  data: number;
}

export interface CompareOptions {
  /** Names in the root that only the second view has. */
  hidden: ReadonlySet<string>;
}

/** Bytes of contents compared at a time. */
const PIECE = 1 << 20;

/** @throws SiphonError `corrupt` that names the first path found where `claimed` is not `truth` */
export function compareLayers(
  claimed: LayerView,
  truth: LayerView,
  { hidden }: CompareOptions,
): void {
  const comparison = new Comparison(claimed, truth);
  const [is, should] = [claimed.index.inode(rootIno), truth.index.inode(rootIno)];
  if (is === undefined || should === undefined) throw comparison.wrong(undefined, 'presence');
  const root: Folder = { path: undefined, pair: [is, should] };
  // Each folder is compared while those in it are looked for.
  const folders = depthFirst(comparison.folder(root, hidden), (folder) =>
    comparison.folder(folder, NOTHING),
  );
  while (folders.next().done !== true);
}

type Pair = readonly [is: Inode, should: Inode];
/** A name, and the path of the folder that has it; `undefined` is the root. */
type Path = { parent: Path; name: Buffer } | undefined;

interface Folder {
  path: Path;
  pair: Pair;
}

class Comparison {
  readonly #claimed: LayerView;
  readonly #truth: LayerView;
  /** Inode of the claimed index that stands for one of the other, for files of several names. */
  readonly #same = new Map<number, number>();

  constructor(claimed: LayerView, truth: LayerView) {
    this.#claimed = claimed;
    this.#truth = truth;
  }

  /** Compares a folder and what it lists; gives the folders in it. */
  *folder({ path, pair }: Folder, hidden: ReadonlySet<string>): Generator<Folder, undefined> {
    const [is, should] = pair;
    this.#attributes(path, pair);
    const shown = entriesBut(hidden, this.#claimed.index, is.ino);
    for (const real of entriesBut(hidden, this.#truth.index, should.ino)) {
      const { value } = shown.next();
      const name = { parent: path, name: real.name };
      const found = this.#claimed.index.lookup(is.ino, real.name);
      if (value?.name.equals(real.name) !== true || found === undefined)
        throw this.wrong(name, 'presence');
      // A listing tells attributes by itself.
      this.#attributes(name, [value.inode, real.inode]);
      if (value.inode.ino !== found.ino) throw this.wrong(name, 'link');
      if (isDirectory(found.mode) && isDirectory(real.inode.mode))
        yield { path: name, pair: [found, real.inode] };
      else this.#file(name, [found, real.inode]);
    }
    const { value } = shown.next();
    if (value !== undefined) throw this.wrong({ parent: path, name: value.name }, 'presence');
    return undefined;
  }

  #file(path: Path, [is, should]: Pair): void {
    const known = this.#same.get(should.ino);
    if (known !== undefined && known !== is.ino) throw this.wrong(path, 'link');
    this.#attributes(path, [is, should]);
    if (known !== undefined) return;
    if (should.nlink > 1) this.#same.set(should.ino, is.ino);
    if (isRegular(should.mode)) this.#contents(path, [is, should]);
  }

  #attributes(path: Path, [is, should]: Pair): void {
    for (const what of EXACT) if (is[what] !== should[what]) throw this.wrong(path, what);
    if (!isSameTime(is, should)) throw this.wrong(path, 'mtime');
    const [a, b] = [this.#claimed.index, this.#truth.index];
    if (!isSame(a.readlink(is.ino), b.readlink(should.ino))) throw this.wrong(path, 'target');
    const names = b.xattrNames(should.ino);
    const isSameXattr = (name: Buffer): boolean =>
      isSame(a.xattr(is.ino, name), b.xattr(should.ino, name));
    if (a.xattrNames(is.ino).length !== names.length || !names.every(isSameXattr))
      throw this.wrong(path, 'xattrs');
  }

  #contents(path: Path, [is, should]: Pair): void {
    for (let at = 0; at < should.size; at += PIECE) {
      const a = contentsOf(this.#claimed, is.ino, at);
      const b = contentsOf(this.#truth, should.ino, at);
      if (!a.equals(b)) throw this.wrong(path, 'content');
    }
  }

  wrong(path: Path, what: string): SiphonError {
    return new SiphonError(
      'corrupt',
      `Cannot trust index ${this.#claimed.index.name}: the ${what} of "${textOf(path)}" is not what the layer gives`,
    );
  }
}

const NOTHING: ReadonlySet<string> = new Set();

const EXACT = [
  'mode',
  'nlink',
  'uid',
  'gid',
  'size',
  'rdevMajor',
  'rdevMinor',
] as const satisfies (keyof Inode)[];

function* entriesBut(
  hidden: ReadonlySet<string>,
  index: LayerIndex,
  ino: number,
): Generator<DirectoryEntry, undefined> {
  for (const entry of entriesOf(index, ino)) if (!hidden.has(entry.name.toString())) yield entry;
}

function contentsOf({ index, data }: LayerView, ino: number, offset: number): Buffer {
  const bytes = Buffer.alloc(PIECE);
  let at = 0;
  for (const segment of index.segments(ino, offset, PIECE)) {
    if (segment.kind === 'data') readSync(data, bytes, at, segment.length, segment.tarOffset);
    at += segment.length;
  }
  return bytes.subarray(0, at);
}

/** Tables of contents may have whole seconds only, cut or rounded. */
function isSameTime(is: Inode, should: Inode): boolean {
  const late = is.mtimeSeconds - should.mtimeSeconds;
  if (is.mtimeNanoseconds !== 0)
    return late === 0 && is.mtimeNanoseconds === should.mtimeNanoseconds;
  return late === 0 || (late === 1 && should.mtimeNanoseconds >= 500_000_000);
}

function isSame(a: Buffer | undefined, b: Buffer | undefined): boolean {
  return a === undefined || b === undefined ? a === b : a.equals(b);
}

function textOf(path: Path): string {
  if (path === undefined) return '.';
  const names: string[] = [];
  for (let at: Path = path; at !== undefined; at = at.parent) names.push(at.name.toString());
  return names.toReversed().join('/');
}

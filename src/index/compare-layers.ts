/**
 * Compares what two indexes make of one blob, as whoever reads the layer would see it: names, attributes, which
 * names are one file, and every byte. Numbers and places may differ, for a table of contents has its own.
 */

import { readSync } from 'node:fs';
import { SiphonError } from '../common/errors.js';
import { type DirectoryEntry, type Inode, type LayerIndex, rootIno } from './layer-index.js';
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

/** Entries of one look into a folder. */
const PAGE = 256;
/** Bytes of contents compared at a time. */
const PIECE = 1 << 20;

/** @throws SiphonError `corrupt` that names the first path where `claimed` is not `truth` */
export function compareLayers(
  claimed: LayerView,
  truth: LayerView,
  { hidden }: CompareOptions,
): void {
  const comparison = new Comparison(claimed, truth);
  const [is, should] = [claimed.index.inode(rootIno), truth.index.inode(rootIno)];
  if (is === undefined || should === undefined) throw wrong('.', 'presence');
  comparison.folders([], [is, should], hidden);
}

type Pair = readonly [is: Inode, should: Inode];
type Path = readonly Buffer[];

class Comparison {
  readonly #claimed: LayerView;
  readonly #truth: LayerView;
  /** Inode of the claimed index that stands for one of the other, for files of several names. */
  readonly #same = new Map<number, number>();

  constructor(claimed: LayerView, truth: LayerView) {
    this.#claimed = claimed;
    this.#truth = truth;
  }

  folders(path: Path, [is, should]: Pair, hidden: ReadonlySet<string>): void {
    this.#attributes(path, [is, should]);
    const shown = entriesOf(this.#claimed.index, is.ino, hidden);
    for (const real of entriesOf(this.#truth.index, should.ino, hidden)) {
      const { value } = shown.next();
      const name = [...path, real.name];
      const found = this.#claimed.index.lookup(is.ino, real.name);
      if (value?.name.equals(real.name) !== true || found === undefined)
        throw wrong(name, 'presence');
      this.#entry(name, [found, real.inode]);
      // A listing tells attributes by itself.
      this.#attributes(name, [value.inode, real.inode]);
      if (value.inode.ino !== found.ino) throw wrong(name, 'link');
    }
    const { value } = shown.next();
    if (value !== undefined) throw wrong([...path, value.name], 'presence');
  }

  #entry(path: Path, [is, should]: Pair): void {
    if (isDirectory(is.mode) && isDirectory(should.mode)) {
      this.folders(path, [is, should], NOTHING);
      return;
    }
    const known = this.#same.get(should.ino);
    if (known !== undefined && known !== is.ino) throw wrong(path, 'link');
    this.#attributes(path, [is, should]);
    if (known !== undefined) return;
    if (should.nlink > 1) this.#same.set(should.ino, is.ino);
    if (isRegular(should.mode)) this.#contents(path, [is, should]);
  }

  #attributes(path: Path, [is, should]: Pair): void {
    for (const what of EXACT) if (is[what] !== should[what]) throw wrong(path, what);
    if (!isSameTime(is, should)) throw wrong(path, 'mtime');
    const [a, b] = [this.#claimed.index, this.#truth.index];
    if (!isSame(a.readlink(is.ino), b.readlink(should.ino))) throw wrong(path, 'target');
    const names = b.xattrNames(should.ino);
    const isSameXattr = (name: Buffer): boolean =>
      isSame(a.xattr(is.ino, name), b.xattr(should.ino, name));
    if (a.xattrNames(is.ino).length !== names.length || !names.every(isSameXattr))
      throw wrong(path, 'xattrs');
  }

  #contents(path: Path, [is, should]: Pair): void {
    for (let at = 0; at < should.size; at += PIECE) {
      const a = contentsOf(this.#claimed, is.ino, at);
      const b = contentsOf(this.#truth, should.ino, at);
      if (!a.equals(b)) throw wrong(path, 'content');
    }
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

function* entriesOf(
  index: LayerIndex,
  ino: number,
  hidden: ReadonlySet<string>,
): Generator<DirectoryEntry, undefined> {
  for (let after = 0; ;) {
    const entries = index.readdir(ino, after, PAGE);
    for (const entry of entries) if (!hidden.has(entry.name.toString())) yield entry;
    const last = entries.at(-1);
    if (last === undefined) return undefined;
    after = last.position;
  }
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

function wrong(path: Path | '.', what: string): SiphonError {
  const name = path === '.' || path.length === 0 ? '.' : path.map(String).join('/');
  return new SiphonError(
    'corrupt',
    `Cannot trust index: the ${what} of "${name}" is not what the layer gives`,
  );
}

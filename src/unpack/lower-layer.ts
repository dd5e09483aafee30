/**
 * What the layers below say of a directory that a layer needs and does not list, found as containerd's apply finds
 * it for the parents of an entry: in one layer after the other, the nearest first, each as a root of its own in
 * which links are followed; the first that has something there decides. That some layer on the way is opaque, or
 * has none of it left, changes nothing. Where containerd refuses the layer above (something else is on the way to
 * the directory, or links that lead nowhere), the directory is as if no layer had it.
 *
 * A layer that this process serves is asked through its index: a thread that looked into a mount of its own process
 * could not be killed while it waits for an answer.
 */

import { closeSync, constants, openSync } from 'node:fs';
import { SiphonError, systemCode } from '../common/errors.js';
import {
  type FileStatus,
  O,
  closeDescriptor,
  openAt,
  statusAt,
  xattrNamesOf,
  xattrOf,
} from '../ffi/at-calls.js';
import { toBytes } from '../index/byte-path.js';
import { DirectoryFinder } from '../index/find-directory.js';
import { LayerIndex } from '../index/layer-index.js';
import { isSymlink } from '../index/modes.js';
import { rootPath } from '../index/root-path.js';
import type { ByteString } from '../index/tar-header.js';
import { BENEATH, lookBeneath } from './rooted-look.js';

/** A layer's folder; or its index, with the folder that {@link writeImpliedFolder} made for it, if it did. */
export type LowerLayer = string | { index: string; implied: string | undefined };

export interface LowerDirectory extends Pick<
  FileStatus,
  'mode' | 'uid' | 'gid' | 'mtimeSeconds' | 'mtimeNanoseconds'
> {
  /** Those that a directory hands on: overlay's marks are about a layer, not a directory. */
  xattrs: { name: ByteString; value: Buffer }[];
}

/** Whatever knows what directories are, by their paths from the root, one character a byte; the root is empty. */
export interface Directories {
  directory(path: ByteString): LowerDirectory | undefined;
}

/** Layers, nearest first, each opened when something is first looked for in it. */
export class LowerLayers implements Directories, Disposable {
  readonly #layers: readonly LowerLayer[];
  readonly #open: (OpenLayer & Disposable)[] = [];

  constructor(layers: readonly LowerLayer[]) {
    this.#layers = layers;
  }

  /** @throws the system error of a folder, the SiphonError of an index that cannot be opened */
  directory(path: ByteString): LowerDirectory | undefined {
    return nearest(this.#inTurn(), path);
  }

  [Symbol.dispose](): void {
    for (const layer of this.#open.splice(0)) layer[Symbol.dispose]();
  }

  *#inTurn(): Generator<OpenLayer> {
    for (const [n, layer] of this.#layers.entries()) yield (this.#open[n] ??= openLayer(layer));
  }
}

/** What the first of the layers that has something at `path` says of the directory there. */
export function nearest(layers: Iterable<OpenLayer>, path: ByteString): LowerDirectory | undefined {
  for (const layer of layers) {
    const found = directoryIn(layer, path);
    if (found === 'other') return undefined;
    if (found !== 'missing') return found;
  }
  return undefined;
}

/** A layer that is looked into. */
export interface OpenLayer {
  /** What it has for a directory, or has instead, there or on the way; `link`: no link is followed. */
  look(path: ByteString): LowerDirectory | 'missing' | 'other' | 'link';
  /** Target of the link at a path of names. @throws what the path does not allow to be seen */
  linkAt(names: readonly ByteString[]): ByteString | undefined;
}

function directoryIn(layer: OpenLayer, path: ByteString): LowerDirectory | 'missing' | 'other' {
  const found = layer.look(path);
  if (found !== 'link') return found;
  const led = followed(layer, path);
  const behind = led === undefined ? 'other' : layer.look(led);
  return behind === 'link' ? 'other' : behind;
}

/** Where links lead; `undefined` where containerd does not follow them. */
function followed(layer: OpenLayer, path: ByteString): ByteString | undefined {
  try {
    return rootPath(`/${path}`, (names) => layer.linkAt(names)).join('/');
  } catch (error) {
    if (error instanceof SiphonError ? error.code === 'invalid' : isOnTheWay(error))
      return undefined;
    throw error;
  }
}

/** Whether a system call refuses a path for what is on it. */
function isOnTheWay(error: unknown): boolean {
  return ['ENOTDIR', 'ELOOP', 'ENAMETOOLONG'].includes(systemCode(error) ?? '');
}

function openLayer(layer: LowerLayer): OpenLayer & Disposable {
  if (typeof layer === 'string') return new FolderLayer(layer);
  const { index, implied } = layer;
  return new LazyLayer(index, new LowerLayers(implied === undefined ? [] : [implied]));
}

class FolderLayer implements OpenLayer, Disposable {
  readonly #root: number;

  constructor(path: string) {
    this.#root = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  }

  look(path: ByteString): ReturnType<OpenLayer['look']> {
    const fd = this.#open(path);
    if (typeof fd === 'string') return fd;
    try {
      const xattrs = handedOn(xattrNamesOf(fd), (name) => xattrOf(fd, name));
      return { ...statusAt(fd, ''), xattrs };
    } finally {
      closeDescriptor(fd);
    }
  }

  linkAt(names: readonly ByteString[]): ByteString | undefined {
    const found = lookBeneath(this.#root, names);
    return typeof found === 'object' ? found.target : undefined;
  }

  #open(path: ByteString): number | 'missing' | 'other' | 'link' {
    try {
      return openAt(this.#root, path === '' ? '.' : path, O.RDONLY | O.DIRECTORY, 0, BENEATH);
    } catch (error) {
      const code = systemCode(error);
      if (code === 'ENOENT') return 'missing';
      if (code === 'ENOTDIR' || code === 'ENAMETOOLONG') return 'other';
      if (code === 'ELOOP') return 'link';
      throw error;
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#root);
  }
}

/** A layer by its index; of what it does not list itself it says what the layers below it do. */
export class IndexedLayer implements OpenLayer {
  readonly #index: LayerIndex;
  readonly #inherited: Directories;
  readonly #finder: DirectoryFinder;

  /** @param inherited what its implicit directories are where it is not what the index has for them */
  constructor(index: LayerIndex, inherited: Directories) {
    this.#index = index;
    this.#inherited = inherited;
    this.#finder = new DirectoryFinder(index);
  }

  look(path: ByteString): ReturnType<OpenLayer['look']> {
    const { found } = this.#finder.find(path);
    if (typeof found === 'string') return found;
    const inherited = this.#index.isImplicit(found.ino)
      ? this.#inherited.directory(path)
      : undefined;
    if (inherited !== undefined) return inherited;
    const names = this.#index.xattrNames(found.ino).map((name) => name.toString('latin1'));
    const xattrs = handedOn(names, (name) => this.#index.xattr(found.ino, toBytes(name)));
    return { ...found, xattrs };
  }

  linkAt(names: readonly ByteString[]): ByteString | undefined {
    const { found } = this.#finder.find(names.slice(0, -1).join('/'));
    if (typeof found === 'string') return undefined;
    const child = this.#index.lookup(found.ino, toBytes(names.at(-1) ?? ''));
    if (child === undefined || !isSymlink(child.mode)) return undefined;
    return this.#index.readlink(child.ino)?.toString('latin1');
  }
}

/** With what it keeps open. */
class LazyLayer extends IndexedLayer implements Disposable {
  readonly #open: readonly Disposable[];

  constructor(path: string, inherited: Directories & Disposable) {
    const index = LayerIndex.open(path);
    super(index, inherited);
    this.#open = [index, inherited];
  }

  [Symbol.dispose](): void {
    for (const one of this.#open) one[Symbol.dispose]();
  }
}

/** The attributes that a directory hands on, with what they are there. */
function handedOn(
  names: readonly ByteString[],
  valueOf: (name: ByteString) => Buffer | undefined,
): LowerDirectory['xattrs'] {
  return names.flatMap((name) => {
    if (name.startsWith('trusted.') || name.startsWith('user.overlay.')) return [];
    const value = valueOf(name);
    return value === undefined ? [] : [{ name, value }];
  });
}

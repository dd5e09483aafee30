/**
 * What the layers below say of a directory. A layer that this process serves is asked through its index:
 * a thread that looked into a mount of its own process could not be killed while it waits for an answer.
 */

import { closeSync, constants, openSync } from 'node:fs';
import { systemCode } from '../common/errors.js';
import {
  type FileStatus,
  O,
  RESOLVE,
  closeDescriptor,
  openAt,
  statusAt,
  xattrNamesOf,
  xattrOf,
} from '../ffi/at-calls.js';
import { toBytes } from '../index/byte-path.js';
import { findDirectory } from '../index/find-directory.js';
import { LayerIndex } from '../index/layer-index.js';
import type { ByteString } from '../index/tar-header.js';

/** The path of a layer's folder, or of a layer's index. */
export type LowerLayer = string | { index: string };

export interface LowerDirectory extends Pick<
  FileStatus,
  'mode' | 'uid' | 'gid' | 'mtimeSeconds' | 'mtimeNanoseconds'
> {
  /** Those that a directory hands on: overlay's marks are about a layer, not a directory. */
  xattrs: { name: ByteString; value: Buffer }[];
}

/** As many as the kernel follows. */
const MAX_SYMLINKS = 40;

/** Layers, nearest first, each opened when something is first looked for in it. */
export class LowerLayers implements Disposable {
  readonly #layers: readonly LowerLayer[];
  readonly #open: OpenLowerLayer[] = [];

  constructor(layers: readonly LowerLayer[]) {
    this.#layers = layers;
  }

  /**
   * What the nearest layer that has something at `path` says of the directory there.
   * @param path from the root, one character a byte; the root is empty
   * @throws the system error of a folder, the SiphonError of an index that cannot be opened
   */
  directory(path: ByteString): LowerDirectory | undefined {
    for (const [n, layer] of this.#layers.entries()) {
      const found = (this.#open[n] ??= openLowerLayer(layer)).directory(path);
      if (found === 'other') return undefined;
      if (found !== 'missing') return found;
    }
    return undefined;
  }

  [Symbol.dispose](): void {
    for (const layer of this.#open.splice(0)) layer[Symbol.dispose]();
  }
}

/**
 * What a layer has for a directory, symlinks followed as if the layer's root were `/`. `other`: it has something else
 * there, which hides what is below.
 */
type Lookup = LowerDirectory | 'missing' | 'other';

interface OpenLowerLayer extends Disposable {
  directory(path: ByteString): Lookup;
}

function openLowerLayer(layer: LowerLayer): OpenLowerLayer {
  return typeof layer === 'string' ? new FolderLayer(layer) : new IndexedLayer(layer.index);
}

class FolderLayer implements OpenLowerLayer {
  readonly #root: number;

  constructor(path: string) {
    this.#root = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  }

  directory(path: ByteString): Lookup {
    const fd = this.#open(path === '' ? '.' : path);
    if (typeof fd === 'string') return fd;
    try {
      const xattrs = handedOn(xattrNamesOf(fd), (name) => xattrOf(fd, name));
      return { ...statusAt(fd, ''), xattrs };
    } finally {
      closeDescriptor(fd);
    }
  }

  #open(path: ByteString): number | 'missing' | 'other' {
    try {
      const resolve = RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS;
      return openAt(this.#root, path, O.RDONLY | O.DIRECTORY, 0, resolve);
    } catch (error) {
      const code = systemCode(error);
      if (code === 'ENOENT') return 'missing';
      if (code === 'ENOTDIR' || code === 'ELOOP') return 'other';
      throw error;
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#root);
  }
}

class IndexedLayer implements OpenLowerLayer {
  readonly #index: LayerIndex;

  constructor(path: string) {
    this.#index = LayerIndex.open(path);
  }

  directory(path: ByteString): Lookup {
    const { found, isOther } = findDirectory(this.#index, path, MAX_SYMLINKS);
    if (found === undefined) return isOther ? 'other' : 'missing';
    const names = this.#index.xattrNames(found.ino).map((name) => name.toString('latin1'));
    const xattrs = handedOn(names, (name) => this.#index.xattr(found.ino, toBytes(name)));
    return { ...found, xattrs };
  }

  [Symbol.dispose](): void {
    this.#index.close();
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

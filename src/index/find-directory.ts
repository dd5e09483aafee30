/**
 * Directories of a layer by their paths, looked up in the layer's index. No link is followed. Those found last are
 * remembered, so that a path whose parent was looked for before costs one look-up.
 */

import { LRUCache } from 'lru-cache';
import { toBytes } from './byte-path.js';
import { type LayerIndex, rootIno } from './layer-index.js';
import type { Inode } from './layer-model.js';
import { isDirectory, isSymlink } from './modes.js';
import { OPAQUE_XATTR } from './overlay-form.js';
import type { ByteString } from './tar-header.js';

const OPAQUE_NAME = Buffer.from(OPAQUE_XATTR.name);
const MAX_REMEMBERED = 256;

export interface DirectorySearch {
  /** The directory, or what is at its path instead, or first on the way to it. */
  found: Inode | 'missing' | 'link' | 'other';
  /** Whether a folder on the way is opaque: what lower layers have in it is not seen. */
  isOpaque: boolean;
}

export class DirectoryFinder {
  readonly #index: LayerIndex;
  readonly #remembered = new LRUCache<ByteString, Found>({ max: MAX_REMEMBERED });

  constructor(index: LayerIndex) {
    this.#index = index;
  }

  /** @param path from the root, one character a byte, without `.` and `..`; `''` is the root */
  find(path: ByteString): DirectorySearch {
    const slash = path.lastIndexOf('/');
    const parent = slash === -1 ? undefined : this.#remembered.get(path.slice(0, slash));
    let at = parent ?? this.#root();
    const rest = parent === undefined ? path : path.slice(slash + 1);
    for (const name of rest.split('/')) {
      if (name === '') continue;
      const isOpaque = at.isOpaque || this.#isOpaque(at.found);
      const child = this.#index.lookup(at.found.ino, toBytes(name));
      if (child === undefined) return { found: 'missing', isOpaque };
      if (!isDirectory(child.mode))
        return { found: isSymlink(child.mode) ? 'link' : 'other', isOpaque };
      at = { found: child, isOpaque };
    }
    this.#remembered.set(path, at);
    return at;
  }

  #root(): Found {
    const found = this.#index.inode(rootIno);
    if (found !== undefined) return { found, isOpaque: false };
    throw this.#index.damage('it has no root directory');
  }

  #isOpaque({ ino }: Inode): boolean {
    return this.#index.info.hasXattrs && this.#index.xattr(ino, OPAQUE_NAME) !== undefined;
  }
}

interface Found extends DirectorySearch {
  found: Inode;
}

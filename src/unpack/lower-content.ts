/**
 * The layer goes on top of others in one tree: what it hides is removed. What it brings itself stays,
 * wherever in the tar the whiteout stands, so its own paths are kept in mind.
 */

import { systemCode } from '../common/errors.js';
import { statusAt } from '../ffi/at-calls.js';
import { isDirectory } from '../index/modes.js';
import type { ByteString } from '../index/tar-header.js';
import { type LayerRules, pathIn } from './layer-rules.js';
import { namesIn } from './remove-tree.js';
import type { Directory, RootedDirectories } from './rooted-directories.js';

/** Removes what is under the name; closes directories where it has to. */
export type Remove = (parent: Directory, name: ByteString) => void;

export class LowerContent implements LayerRules {
  readonly #directories: RootedDirectories;
  readonly #remove: Remove;
  /** Paths that the layer has, with all directories that lead there. */
  readonly #own = new Set<ByteString>();

  constructor(directories: RootedDirectories, remove: Remove) {
    this.#directories = directories;
    this.#remove = remove;
  }

  whiteout(parent: Directory, hidden: ByteString): void {
    const path = pathIn(parent, hidden);
    const mode = modeOf(parent, hidden);
    if (mode === undefined) return;
    if (!this.#own.has(path)) this.#remove(parent, hidden);
    else if (isDirectory(mode)) this.opaque(this.#directories.at(path));
  }

  opaque({ fd, path }: Directory): void {
    for (const name of namesIn(fd)) this.whiteout(this.#directories.at(path), name);
  }

  claim(path: ByteString): boolean {
    if (this.#own.has(path)) return true;
    for (let at: ByteString = path; at !== '' && !this.#own.has(at); at = parentOf(at)) {
      this.#own.add(at);
    }
    return false;
  }
}

function parentOf(path: ByteString): ByteString {
  return path.slice(0, Math.max(path.lastIndexOf('/'), 0));
}

function modeOf(parent: Directory, name: ByteString): number | undefined {
  try {
    return statusAt(parent.fd, name).mode;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

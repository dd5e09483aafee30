/** What a layer says of the layers below it, carried out in one of the forms there are. */

import type { TarEntry } from '../index/tar-entry.js';
import type { ByteString } from '../index/tar-header.js';
import type { Directory } from './rooted-directories.js';

export interface LayerRules {
  /** Hides what layers below have under this name. */
  whiteout(parent: Directory, hidden: ByteString, entry: TarEntry): void;
  /** Hides what layers below have in this directory. */
  opaque(directory: Directory): void;
  /** The layer itself has this path. @returns whether it was said before */
  claim(path: ByteString): boolean;
}

/** The path of a name in a directory. */
export function pathIn(directory: Directory, name: ByteString): ByteString {
  return directory.path === '' ? name : `${directory.path}/${name}`;
}

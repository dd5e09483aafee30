/** A directory of a layer by its path, looked up in the layer's index. */

import { toBytes } from './byte-path.js';
import { type LayerIndex, rootIno } from './layer-index.js';
import type { Inode } from './layer-model.js';
import { isDirectory } from './modes.js';
import { OPAQUE_XATTR } from './overlay-form.js';
import type { ByteString } from './tar-header.js';

const opaqueName = Buffer.from(OPAQUE_XATTR.name);

export interface DirectorySearch {
  /** The directory, where the layer has it. */
  found: Inode | undefined;
  /** Whether the layer has something else at the path, or on the way to it. */
  isOther: boolean;
  /** Whether a folder on the way is opaque: what lower layers have in it is not seen. */
  isOpaque: boolean;
}

/**
 * @param path from the root; `''` is the root
 * @param symlinks how many may be followed, as the kernel does it where the layer's root is `/`; one more is
 *   something else
 */
export function findDirectory(index: LayerIndex, path: ByteString, symlinks = 0): DirectorySearch {
  const rest = namesOf(path);
  const above: Inode[] = [];
  let at = index.inode(rootIno);
  let left = symlinks;
  let isOpaque = false;
  for (let name = rest.pop(); name !== undefined && at !== undefined; name = rest.pop()) {
    if (name === '' || name === '.') continue;
    if (name === '..') {
      at = above.pop() ?? at;
      continue;
    }
    isOpaque ||= index.info.hasXattrs && index.xattr(at.ino, opaqueName) !== undefined;
    const child = index.lookup(at.ino, toBytes(name));
    const target = left > 0 && child !== undefined ? index.readlink(child.ino) : undefined;
    if (target !== undefined) {
      left -= 1;
      const text = target.toString('latin1');
      if (text.startsWith('/')) at = above.splice(0)[0] ?? at;
      rest.push(...namesOf(text));
      continue;
    }
    if (child !== undefined && !isDirectory(child.mode))
      return { found: undefined, isOther: true, isOpaque };
    above.push(at);
    at = child;
  }
  return { found: at, isOther: false, isOpaque };
}

/** Last one first. */
function namesOf(path: ByteString): ByteString[] {
  return path.split('/').toReversed();
}

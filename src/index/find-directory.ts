/** A directory of a layer by its path, looked up in the layer's index. */

import { linkTarget } from './byte-path.js';
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
 * @param symlinks how many may be followed, as if the layer's root were `/`; one more is something else
 */
export function findDirectory(index: LayerIndex, path: ByteString, symlinks = 0): DirectorySearch {
  let left = symlinks;
  let rest = path.split('/').filter((part) => part !== '');
  let inode = index.inode(rootIno);
  let isOpaque = false;
  for (let i = 0; i < rest.length && inode !== undefined;) {
    isOpaque ||= index.info.hasXattrs && index.xattr(inode.ino, opaqueName) !== undefined;
    const child = index.lookup(inode.ino, Buffer.from(rest[i] ?? '', 'latin1'));
    const target = left > 0 && child !== undefined ? index.readlink(child.ino) : undefined;
    if (target !== undefined) {
      left -= 1;
      rest = [...linkTarget(rest.slice(0, i), target.toString('latin1')), ...rest.slice(i + 1)];
      inode = index.inode(rootIno);
      i = 0;
      continue;
    }
    if (child !== undefined && !isDirectory(child.mode))
      return { found: undefined, isOther: true, isOpaque };
    inode = child;
    i += 1;
  }
  return { found: inode, isOther: false, isOpaque };
}

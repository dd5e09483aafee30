/** What stands at a path beneath a root, without ever leaving it. */

import { O, RESOLVE, closeDescriptor, openAt, readLinkOf, statusAt } from '../ffi/at-calls.js';
import { systemCode } from '../common/errors.js';
import { isDirectory, isSymlink } from '../index/modes.js';
import type { ByteString } from '../index/tar-header.js';

/** For openat2(2): no link is followed, and nothing leads out. */
export const BENEATH = RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS | RESOLVE.NO_MAGICLINKS;
/** What openat2(2) says where a path ends, or leaves the root by a symlink. */
const NOT_THERE = new Set(['ENOENT', 'EXDEV']);

/**
 * As lstat(2) finds it, links on the way followed, but that nothing is outside the root.
 * @param root a descriptor
 * @throws SystemError such as `ENOTDIR`
 */
export function lookBeneath(
  root: number,
  names: readonly ByteString[],
): 'directory' | 'file' | { target: ByteString } | undefined {
  const fd = openPath(root, names.join('/'));
  if (fd === undefined) return undefined;
  try {
    const { mode } = statusAt(fd, '');
    if (isSymlink(mode)) return { target: readLinkOf(fd) };
    return isDirectory(mode) ? 'directory' : 'file';
  } finally {
    closeDescriptor(fd);
  }
}

function openPath(root: number, path: ByteString): number | undefined {
  try {
    return openAt(root, path, O.PATH | O.NOFOLLOW, 0, RESOLVE.BENEATH);
  } catch (error) {
    if (NOT_THERE.has(systemCode(error) ?? '')) return undefined;
    throw error;
  }
}

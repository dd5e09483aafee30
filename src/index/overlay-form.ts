/**
 * How a layer speaks of the layers below it: whiteouts as the OCI image specification writes them
 * (layer.md, "Whiteouts"), turned into what overlayfs understands. Pure.
 */

import { SiphonError } from '../common/errors.js';
import type { Xattr } from './tar-entry.js';
import { type ByteString, printable } from './tar-header.js';

/** Names of overlay's own attributes begin so in indexes, and wherever it is not in a user namespace. */
export const OVERLAY_XATTRS = 'trusted.overlay.';
/** And so under its option `userxattr`, which it has in a user namespace. */
export const USER_OVERLAY_XATTRS = 'user.overlay.';

/** Xattr that hides what lower layers have in a directory. */
export const OPAQUE_XATTR: Xattr = { name: 'trusted.overlay.opaque', value: 'y' };

/**
 * Tells overlayfs that a directory may hold whiteouts even where no other layer has the directory, so
 * that listing it leaves them out; without, the names of whiteouts that hide nothing would be listed.
 */
export const HAS_WHITEOUTS_XATTR: Xattr = { name: 'trusted.overlay.origin', value: '' };

export type NameMeaning =
  { kind: 'plain' } | { kind: 'opaque' } | { kind: 'whiteout'; hidden: ByteString };

const WHITEOUT_PREFIX = '.wh.';
const OPAQUE_NAME = '.wh..wh..opq';

/** @throws SiphonError `invalid` for a whiteout that hides nothing that has a name */
export function meaningOf(name: ByteString): NameMeaning {
  if (name === OPAQUE_NAME) return { kind: 'opaque' };
  if (!name.startsWith(WHITEOUT_PREFIX)) return { kind: 'plain' };
  const hidden = name.slice(WHITEOUT_PREFIX.length);
  if (hidden === '' || hidden === '.' || hidden === '..') {
    throw new SiphonError(
      'invalid',
      `Cannot apply whiteout "${printable(name)}": it hides "${hidden}", expected a file name`,
    );
  }
  return { kind: 'whiteout', hidden };
}

/** The access lists of POSIX: all that file systems of layers have in `system.` (xattr(7)). */
const ACCESS_LISTS = new Set(['system.posix_acl_access', 'system.posix_acl_default']);

/**
 * Whether an xattr of a tar is kept. `trusted.` is not an archive's to set, overlay's own names would
 * change what the merged tree shows, and other namespaces no file system takes.
 */
export function keepsXattr(name: ByteString, isFileOrDirectory: boolean): boolean {
  if (name.startsWith('security.')) return name.length > 'security.'.length;
  if (name.startsWith('system.')) return ACCESS_LISTS.has(name);
  // On links and devices, this namespace is not to be had.
  if (!isFileOrDirectory || name.startsWith(USER_OVERLAY_XATTRS)) return false;
  return name.startsWith('user.') && name.length > 'user.'.length;
}

/** Extended attributes that setxattr(2) refuses, whatever the file system: containerd gives up on those. */

import { toBytes } from './byte-path.js';
import type { ByteString } from './tar-header.js';

/** XATTR_NAME_MAX and XATTR_SIZE_MAX of Linux. */
const MAX_XATTR_NAME = 255;
const MAX_XATTR_SIZE = 65536;

const CAPABILITY = {
  name: 'security.capability',
  /** Flag in the first word, whose rest is the version. */
  effective: 1,
  sizes: new Map([
    [0x02000000, 20],
    [0x03000000, 24],
  ]),
} as const;

/**
 * What keeps an attribute from being set, in words that follow its name; of those that containerd merely leaves
 * out, nothing.
 */
export function xattrProblem(
  name: ByteString,
  value: ByteString,
  isFileOrDirectory: boolean,
): string | undefined {
  if (name.startsWith('trusted.')) return undefined;
  if (name === '' || name === 'security.' || (name === 'user.' && isFileOrDirectory))
    return 'has no name, expected one';
  if (name.length > MAX_XATTR_NAME || value.length > MAX_XATTR_SIZE)
    return 'is longer than Linux allows';
  if (name === CAPABILITY.name && value !== '' && !isCapability(value))
    return 'has a value that is no capability';
  return undefined;
}

/** Whether it has the form of version 2 or 3, the only ones that the kernel takes (linux/capability.h). */
function isCapability(value: ByteString): boolean {
  if (value.length < 4) return false;
  const revision = toBytes(value.slice(0, 4)).readUInt32LE() & ~CAPABILITY.effective;
  return CAPABILITY.sizes.get(revision) === value.length;
}

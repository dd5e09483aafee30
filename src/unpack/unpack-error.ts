/** What a failed system call on the target means for whoever asked to unpack. */

import { type ErrorCode, SiphonError, errorMessage, systemCode } from '../common/errors.js';
import type { TarEntry } from '../index/tar-entry.js';
import { printable } from '../index/tar-header.js';

const CODES: Partial<Record<string, ErrorCode>> = {
  ENOSPC: 'no-space',
  EDQUOT: 'no-space',
  EPERM: 'permission',
  EACCES: 'permission',
  EROFS: 'failed-precondition',
  EBUSY: 'busy',
  ENOSYS: 'unsupported',
  // What is left says that the tree cannot be: a file as parent, a loop, a name too long.
  ELOOP: 'invalid',
  EFBIG: 'invalid',
  ENOTDIR: 'invalid',
  EISDIR: 'invalid',
  ENAMETOOLONG: 'invalid',
  EINVAL: 'invalid',
  ENOENT: 'invalid',
  EMLINK: 'invalid',
};
const MAX_SHOWN = 512;

/** An entry that no file system could hold, or that breaks the rules. */
export function cannotUnpack(entry: TarEntry, why: string, cause?: unknown): SiphonError {
  return new SiphonError('invalid', `${subject(entry)}: ${why}`, { cause });
}

/** As {@link SiphonError} whatever applying the entry threw; what is no system error stays itself. */
export function unpackFailure(error: unknown, entry: TarEntry | undefined): unknown {
  const code = systemCode(error);
  if (error instanceof SiphonError || code === undefined) return error;
  const what = entry === undefined ? 'Cannot unpack layer' : subject(entry);
  return new SiphonError(CODES[code] ?? 'internal', `${what}: ${errorMessage(error)}`, {
    cause: error,
  });
}

function subject(entry: TarEntry): string {
  return `Cannot unpack tar entry "${printable(entry.path.slice(0, MAX_SHOWN))}"`;
}

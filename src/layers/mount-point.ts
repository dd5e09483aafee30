/** The folder that an image is mounted on. */

import { readdir, realpath } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { SiphonError, systemCode } from '../common/errors.js';
import { isMounted } from '../common/mount-info.js';
import { umount } from '../ffi/libc.js';

/**
 * The folder's absolute path without symlinks, also where the server of what is mounted there is gone.
 * @throws SiphonError `not-found`
 */
export async function resolveMountPoint(target: string): Promise<string> {
  try {
    const parent = await realpath(dirname(resolve(target)));
    const directory = join(parent, basename(resolve(target)));
    if (await isMounted(directory)) return directory;
    const resolved = await realpath(directory);
    await readdir(resolved);
    return resolved;
  } catch (error) {
    const what = systemCode(error) === 'ENOTDIR' ? 'is no folder' : 'does not exist';
    throw new SiphonError(
      'not-found',
      `Cannot use mount point "${target}": it ${what}, expected an existing folder`,
      { cause: error },
    );
  }
}

/** @throws SiphonError `busy` while something uses it */
export function unmountFolder(directory: string): void {
  try {
    umount(directory);
  } catch (error) {
    const busy = systemCode(error) === 'EBUSY';
    throw new SiphonError(
      busy ? 'busy' : 'failed-precondition',
      `Cannot unmount "${directory}": ${busy ? 'it is in use' : (systemCode(error) ?? 'failed')}`,
      { cause: error, ...(busy ? { hint: 'Leave the folder and end what reads it first.' } : {}) },
    );
  }
}

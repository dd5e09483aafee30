/** What the libfuse driver needs of the machine, looked for before an image is fetched for it. */

import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { SiphonError } from '../common/errors.js';
import { loadLibfuse } from './libfuse.js';

const devicePath = '/dev/fuse';
const helper = 'fusermount';

/**
 * @throws SiphonError `unsupported` where libfuse, fuse-native or `fusermount` is missing, `permission`
 * where the user may not open the device
 */
export async function checkLibfuseNeeds(): Promise<void> {
  await loadLibfuse();
  if (!(await isOnPath(helper))) {
    throw new SiphonError(
      'unsupported',
      `Cannot mount through libfuse: "${helper}" is missing, expected Debian's package "fuse" to be installed`,
    );
  }
  if (!(await may(devicePath, constants.R_OK | constants.W_OK))) {
    throw new SiphonError(
      'permission',
      `Cannot mount through libfuse: "${devicePath}" may not be opened, expected the module "fuse" and mode 0666, as udev gives it`,
    );
  }
}

async function isOnPath(name: string): Promise<boolean> {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    if (folder !== '' && (await may(join(folder, name), constants.X_OK))) return true;
  }
  return false;
}

function may(path: string, mode: number): Promise<boolean> {
  return access(path, mode).then(
    () => true,
    () => false,
  );
}

/** Files by when they were written last. */

import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../common/errors.js';

/**
 * Removes those of `names` in the folder that were not written since.
 * @param before milliseconds since 1970
 */
export async function removeOlder(
  directory: string,
  names: readonly string[],
  before: number,
): Promise<void> {
  for (const name of names) {
    const path = join(directory, name);
    const stats = await statOf(path);
    if (stats !== undefined && stats.mtimeMs < before) await rm(path, { force: true });
  }
}

/** `undefined` where there is no such file. */
export async function statOf(
  path: string,
): Promise<{ size: number; ino: number; mtimeMs: number } | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

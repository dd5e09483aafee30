/** The kernel's caches of this machine. */

import { writeFile } from 'node:fs/promises';
import { execute } from '../programs/execute.js';

/** Writes out what is dirty, then forgets pages, directory entries and inodes. */
export async function dropCaches(): Promise<void> {
  await execute('sync', []);
  await writeFile('/proc/sys/vm/drop_caches', '3');
}

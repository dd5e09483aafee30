/** `siphon umount`: ends what another process serves. */

import { setTimeout as delay } from 'node:timers/promises';
import { SiphonError } from '../common/errors.js';
import { isMounted } from '../common/mount-info.js';
import { isRunning } from '../common/process.js';
import { resolveMountPoint, unmountFolder } from './mount-point.js';
import { readMountRecord, removeMountHome, removeMountRecord } from './mount-record.js';

const endTimeout = 20_000; // ms

/**
 * Unmounts a folder that another process serves and waits until that process has cleaned up.
 * @throws SiphonError `not-found` (nothing of ours there), `busy`, `timeout`
 */
export async function unmountImage(root: string, target: string): Promise<void> {
  const directory = await resolveMountPoint(target);
  const record = await readMountRecord(root, directory);
  if (record === undefined) {
    throw new SiphonError(
      'not-found',
      `Cannot unmount "${directory}": no image is mounted there by siphon with root "${root}"`,
    );
  }
  // A server on libfuse has to do it itself, through fusermount.
  if (record.driver === 'kernel' && (await isMounted(directory))) unmountFolder(directory);
  if (await isRunning(record.server)) {
    process.kill(record.server.pid, 'SIGTERM');
    await waitForEnd(() => isRunning(record.server), directory);
  }
  if (record.driver === 'kernel') await removeMountHome(root, directory);
  await removeMountRecord(root, directory);
}

async function waitForEnd(running: () => Promise<boolean>, directory: string): Promise<void> {
  const deadline = Date.now() + endTimeout;
  while (await running()) {
    if (Date.now() > deadline) {
      throw new SiphonError(
        'timeout',
        `Cannot see the server of "${directory}" end: still running after ${endTimeout / 1000} s`,
      );
    }
    await delay(20);
  }
}

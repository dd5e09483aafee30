/** `siphon umount`: ends what another process serves. */

import { setTimeout as delay } from 'node:timers/promises';
import { SiphonError } from '../common/errors.js';
import { isMounted } from '../common/mount-info.js';
import { isRunning, signalIfThere } from '../common/process.js';
import { resolveMountPoint, unmountFolder } from './mount-point.js';
import {
  type MountRecord,
  readMountRecord,
  removeMountHome,
  removeMountRecord,
} from './mount-record.js';

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
  await endServer(record);
  if (record.driver === 'kernel') await removeMountHome(root, directory);
  await removeMountRecord(root, directory);
}

/** Has the server clean up and end. @throws SiphonError `timeout` */
async function endServer(record: MountRecord): Promise<void> {
  const { server, directory } = record;
  if (await isRunning(server)) signalIfThere(server.pid, 'SIGTERM');
  if (await serverEnds(record, endTimeout)) return;
  throw new SiphonError(
    'timeout',
    `Cannot see the server of "${directory}" end: still running after ${endTimeout / 1000} s`,
  );
}

/** Waits for the server to end, for at most `patience` ms. @returns whether it has */
export async function serverEnds({ server }: MountRecord, patience: number): Promise<boolean> {
  const deadline = Date.now() + patience;
  while (await isRunning(server)) {
    if (Date.now() > deadline) return false;
    await delay(20);
  }
  return true;
}

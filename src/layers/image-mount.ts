/**
 * `siphon mount`: an image as a read-only folder, served by this process until it is told to stop or
 * somebody unmounts the folder.
 */

import { readdir, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { SiphonError } from '../common/errors.js';
import { isRunning } from '../common/process.js';
import { UndoStack } from '../common/undo-stack.js';
import { formatSource } from '../content/source.js';
import { openImageSession } from './image-session.js';
import { mountThroughLibfuse } from './libfuse-session.js';
import {
  type MountRecord,
  busy,
  claimMountPoint,
  mountHome,
  readMountRecord,
  recordOfHome,
  removeMountHome,
  removeMountRecord,
} from './mount-record.js';
import { resolveMountPoint } from './mount-point.js';
import { clearStaleMount, isMounted } from './mount-table.js';
import { mountOverlay } from './overlay-mount.js';
import type { ImageOptions } from './serve-image.js';
import { type ImageMount, mountOn } from './standing-mount.js';

/** `kernel`: `/dev/fuse` and overlayfs, as root. `libfuse`: through fusermount, as anybody. */
export type Driver = MountRecord['driver'];

export interface ImageMountOptions extends ImageOptions {
  driver: Driver;
  /** Mount point: an existing, empty folder. */
  target: string;
}

const lostText =
  'the server before has died, and this kernel cannot hand its requests on (FUSE_NOTIFY_RESEND, Linux 6.9): ' +
  'whoever has files of the mount open gets errors; it is mounted anew';

/** @throws SiphonError for whatever is in the way; nothing is left mounted then */
export async function mountImage(options: ImageMountOptions): Promise<ImageMount> {
  const { root, source, driver, keeper } = options;
  if (keeper?.lost !== undefined) await clearLostMount(options, keeper.lost.mountPoint);
  const target = await resolveMountPoint(options.target);
  const undo = new UndoStack();
  let allowSuccession = (): void => {};
  try {
    await removeStaleMount(root, target);
    await checkMountPoint(target);
    const claim = { directory: target, source: formatSource(source), driver };
    await claimMountPoint(root, claim, keeper?.pid);
    undo.defer(() => removeMountRecord(root, target));
    if (driver === 'libfuse') undo.defer(await mountThroughLibfuse({ ...options, target }));
    else allowSuccession = await mountThroughKernel(options, target, undo);
    allowSuccession();
  } catch (error) {
    await undo[Symbol.asyncDispose]();
    throw error;
  }
  return mountOn(target, undo);
}

/** Takes away what a server left that cannot be gone on with; whoever uses it gets errors. */
async function clearLostMount(
  { root, log, keeper }: ImageMountOptions,
  mountPoint: string,
): Promise<void> {
  log.error({ mountPoint, endedWith: keeper?.endedWith }, lostText);
  const record = await recordOfHome(dirname(mountPoint));
  if (record !== undefined) {
    await clearStaleMount(record.directory);
    await removeMountRecord(root, record.directory);
  }
  await clearStaleMount(mountPoint);
  await rm(dirname(mountPoint), { recursive: true, force: true });
}

async function mountThroughKernel(
  options: ImageMountOptions,
  target: string,
  undo: UndoStack,
): Promise<() => void> {
  // The mount point is ours now: whatever is left there is nobody's.
  await removeMountHome(options.root, target);
  const directory = mountHome(options.root, target);
  const session = await openImageSession({ ...options, directory });
  undo.defer(() => session.close());
  mountOverlay({ ...session.stack, target });
  undo.defer(() => clearStaleMount(target));
  return session.allowSuccession;
}

/** Clears away what a server has left that was killed. */
async function removeStaleMount(root: string, target: string): Promise<void> {
  const record = await readMountRecord(root, target);
  if (record === undefined || (await isRunning(record.server))) return;
  await clearStaleMount(target);
  await removeMountHome(root, target);
  await removeMountRecord(root, target);
}

async function checkMountPoint(directory: string): Promise<void> {
  if (await isMounted(directory)) throw busy(directory);
  if ((await readdir(directory)).length > 0) {
    throw new SiphonError(
      'failed-precondition',
      `Cannot mount on "${directory}": the folder is not empty, expected an empty one`,
    );
  }
}

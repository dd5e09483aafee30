/**
 * `siphon mount`: an image as a read-only folder, served by this process until it is told to stop or
 * somebody unmounts the folder.
 */

import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
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
  removeMountRecord,
} from './mount-record.js';
import { resolveMountPoint } from './mount-point.js';
import { clearStaleMount, isMounted } from './mount-table.js';
import { mountOverlay } from './overlay-mount.js';
import type { ImageOptions } from './serve-image.js';

/** `kernel`: `/dev/fuse` and overlayfs, as root. `libfuse`: through fusermount, as anybody. */
export type Driver = MountRecord['driver'];

export interface ImageMountOptions extends ImageOptions {
  driver: Driver;
  /** Mount point: an existing, empty folder. */
  target: string;
}

export interface ImageMount {
  readonly target: string;
  /** Resolves when the folder is no longer mounted, whoever did it. */
  unmounted(signal: AbortSignal): Promise<void>;
  /** Unmounts, whatever still uses the folder; that gets errors from then on. */
  close(): Promise<void>;
}

const watchInterval = 1000; // ms

/** @throws SiphonError for whatever is in the way; nothing is left mounted then */
export async function mountImage(options: ImageMountOptions): Promise<ImageMount> {
  const { root, source, driver } = options;
  const target = await resolveMountPoint(options.target);
  const undo = new UndoStack();
  try {
    await removeStaleMount(root, target);
    await checkMountPoint(target);
    await claimMountPoint(root, { directory: target, source: formatSource(source), driver });
    undo.defer(() => removeMountRecord(root, target));
    if (driver === 'libfuse') undo.defer(await mountThroughLibfuse({ ...options, target }));
    else await mountThroughKernel(options, target, undo);
  } catch (error) {
    await undo[Symbol.asyncDispose]();
    throw error;
  }
  return {
    target,
    unmounted: (signal) => waitForUnmount(target, signal),
    close: () => undo[Symbol.asyncDispose](),
  };
}

async function mountThroughKernel(
  options: ImageMountOptions,
  target: string,
  undo: UndoStack,
): Promise<void> {
  const directory = mountHome(options.root, target);
  const session = await openImageSession({ ...options, directory });
  undo.defer(() => session.close());
  mountOverlay({ ...session.stack, target });
  undo.defer(() => clearStaleMount(target));
}

/** Clears away what a server has left that was killed. */
async function removeStaleMount(root: string, target: string): Promise<void> {
  const record = await readMountRecord(root, target);
  if (record === undefined || (await isRunning(record.server))) return;
  await clearStaleMount(target);
  await clearStaleMount(join(mountHome(root, target), 'fuse'));
  await rm(mountHome(root, target), { recursive: true, force: true });
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

async function waitForUnmount(target: string, signal: AbortSignal): Promise<void> {
  while (!signal.aborted && (await isMounted(target))) {
    await delay(watchInterval, undefined, { signal }).catch(() => {});
  }
}

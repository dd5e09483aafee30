/**
 * `siphon mount`: an image as a read-only folder, served by this process until it is told to stop or
 * somebody unmounts the folder.
 */

import { readdir, realpath } from 'node:fs/promises';
import { SiphonError, systemCode } from '../common/errors.js';
import { isRunning } from '../common/process.js';
import { UndoStack } from '../common/undo-stack.js';
import { formatSource } from '../content/source.js';
import { umount } from '../ffi/libc.js';
import { type ImageSessionOptions, openImageSession } from './image-session.js';
import { mountHome, readMountRecord, removeMountRecord, writeMountRecord } from './mount-record.js';
import { clearStaleMount, isMounted } from './mount-table.js';
import { mountOverlay } from './overlay-mount.js';

export interface ImageMountOptions extends Omit<ImageSessionOptions, 'directory'> {
  /** Mount point: an existing, empty folder. */
  target: string;
}

export interface ImageMount {
  readonly target: string;
  /** Resolves when the folder is no longer mounted, whoever did it. */
  unmounted(signal: AbortSignal): Promise<void>;
  /** @throws SiphonError `busy` while something uses the folder; all stays as it is then */
  close(): Promise<void>;
}

const watchInterval = 1000; // ms

/** @throws SiphonError for whatever is in the way; nothing is left mounted then */
export async function mountImage(options: ImageMountOptions): Promise<ImageMount> {
  const target = await checkMountPoint(options.root, options.target);
  const undo = new UndoStack();
  try {
    const session = await openImageSession({
      ...options,
      directory: mountHome(options.root, target),
    });
    undo.defer(() => session.close());
    mountOverlay({ ...session.stack, target });
    undo.defer(() => clearStaleMount(target));
    await writeMountRecord(options.root, {
      directory: target,
      source: formatSource(options.source),
    });
    undo.defer(() => removeMountRecord(options.root, target));
  } catch (error) {
    await undo[Symbol.asyncDispose]();
    throw error;
  }
  return {
    target,
    unmounted: (signal) => waitForUnmount(target, signal),
    async close() {
      if (await isMounted(target)) unmountFolder(target);
      await undo[Symbol.asyncDispose]();
    },
  };
}

/**
 * Unmounts a folder that another process serves and waits until that process has cleaned up.
 * @throws SiphonError `not-found` (nothing of ours there), `busy`, `timeout`
 */
export async function unmountImage(root: string, target: string): Promise<void> {
  const directory = await resolveFolder(target);
  const record = await readMountRecord(root, directory);
  if (record === undefined) {
    throw new SiphonError(
      'not-found',
      `Cannot unmount "${directory}": no image is mounted there by siphon with root "${root}"`,
    );
  }
  if (await isMounted(directory)) unmountFolder(directory);
  if (await isRunning(record.server)) {
    process.kill(record.server.pid, 'SIGTERM');
    await waitForEnd(() => isRunning(record.server), directory);
  }
  await clearStaleMount(`${mountHome(root, directory)}/fuse`);
  await removeMountRecord(root, directory);
}

async function checkMountPoint(root: string, target: string): Promise<string> {
  const directory = await resolveFolder(target);
  const record = await readMountRecord(root, directory);
  if ((record !== undefined && (await isRunning(record.server))) || (await isMounted(directory))) {
    throw new SiphonError(
      'busy',
      `Cannot mount on "${directory}": something is mounted there already, expected a free folder`,
    );
  }
  if ((await readdir(directory)).length > 0) {
    throw new SiphonError(
      'failed-precondition',
      `Cannot mount on "${directory}": the folder is not empty, expected an empty one`,
    );
  }
  return directory;
}

async function resolveFolder(target: string): Promise<string> {
  try {
    const directory = await realpath(target);
    await readdir(directory);
    return directory;
  } catch (error) {
    const what = systemCode(error) === 'ENOTDIR' ? 'is no folder' : 'does not exist';
    throw new SiphonError(
      'not-found',
      `Cannot use mount point "${target}": it ${what}, expected an existing folder`,
      { cause: error },
    );
  }
}

function unmountFolder(directory: string): void {
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

async function waitForUnmount(target: string, signal: AbortSignal): Promise<void> {
  while (!signal.aborted && (await isMounted(target))) await pause(watchInterval, signal);
}

const endTimeout = 20_000; // ms

async function waitForEnd(running: () => Promise<boolean>, directory: string): Promise<void> {
  const deadline = Date.now() + endTimeout;
  while (await running()) {
    if (Date.now() > deadline) {
      throw new SiphonError(
        'timeout',
        `Cannot see the server of "${directory}" end: still running after ${endTimeout / 1000} s`,
      );
    }
    await pause(20);
  }
}

function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
  });
}

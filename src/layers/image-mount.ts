/**
 * `siphon mount`: an image as a read-only folder. Through libfuse this process serves it; through the kernel
 * driver a process of its own does (see layer-host.ts), which goes on when this one leaves.
 */

import { readdir } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { SiphonError } from '../common/errors.js';
import { isMounted } from '../common/mount-info.js';
import { isRunning } from '../common/process.js';
import { UndoStack } from '../common/undo-stack.js';
import { formatSource } from '../content/source.js';
import { type ImageSession, openImageSession } from './image-session.js';
import type { StartLayerHost } from './layer-host.js';
import {
  type MountRecord,
  busy,
  claimMountPoint,
  handMountOver,
  mountHome,
  readMountRecord,
  removeMountHome,
  removeMountRecord,
} from './mount-record.js';
import { resolveMountPoint } from './mount-point.js';
import { writeMountStack } from './mount-stack.js';
import { clearStaleMount } from './mount-table.js';
import { mountOverlay } from './overlay-mount.js';
import type { ImageOptions } from './serve-image.js';
import { serverEnds } from './unmount-image.js';

/** `kernel`: `/dev/fuse` and overlayfs, as root. `libfuse`: through fusermount, as anybody. */
export type Driver = MountRecord['driver'];

export interface ImageMountOptions extends ImageOptions {
  driver: Driver;
  /** Mount point: an existing, empty folder. */
  target: string;
  /** Only the kernel driver starts one. */
  startHost: StartLayerHost;
}

export interface ImageMount {
  readonly target: string;
  /**
   * Resolves when the folder is no longer mounted, whoever did it.
   * @throws SiphonError `unavailable` where its server has ended, and no other has come
   */
  unmounted(signal: AbortSignal): Promise<void>;
  /** Unmounts, whatever still uses the folder; that gets errors from then on. */
  close(): Promise<void>;
  /** Leaves the mount to its server; not with libfuse. */
  leave(): Promise<void>;
  /** Asks the server to make room for another; not with libfuse. */
  replaceServer(): void;
}

const watchInterval = 1000; // ms
/** How long a server may take to see that its folder was unmounted, and to end, ms. */
const endPatience = 5000;

/** @throws SiphonError for whatever is in the way; nothing is left mounted then */
export async function mountImage(options: ImageMountOptions): Promise<ImageMount> {
  const { root, source, driver } = options;
  const target = await resolveMountPoint(options.target);
  const undo = new UndoStack();
  let session: ImageSession | undefined;
  try {
    await removeStaleMount(root, target);
    await checkMountPoint(target);
    const claim = { directory: target, source: formatSource(source), driver };
    await claimMountPoint(root, claim);
    undo.defer(() => removeMountRecord(root, target));
    if (driver === 'libfuse') {
      const { mountThroughLibfuse } = await import('./libfuse-session.js');
      undo.defer(await mountThroughLibfuse({ ...options, target }));
      await handMountOver(root, claim, process.pid);
    } else {
      session = await mountThroughKernel(options, target, undo);
      await handMountOver(root, claim, session.host.pid);
    }
  } catch (error) {
    await undo[Symbol.asyncDispose]();
    throw error;
  }
  const mount: StandingMount = { target, session, endCode: undefined };
  void session?.host.ended.then((code) => (mount.endCode = code));
  return {
    target,
    unmounted: (signal) => waitForUnmount(mount, signal),
    close: () => endMount(mount, undo),
    leave: async () => session?.leave(),
    replaceServer() {
      if (session !== undefined) process.kill(session.host.pid, 'SIGUSR2');
    },
  };
}

async function mountThroughKernel(
  options: ImageMountOptions,
  target: string,
  undo: UndoStack,
): Promise<ImageSession> {
  // The mount point is ours now: whatever is left there is nobody's.
  await removeMountHome(options.root, target);
  const directory = mountHome(options.root, target);
  const session = await openImageSession({ ...options, target, directory, untilUnmounted: false });
  undo.defer(() => session.close());
  await writeMountStack(directory, session.stack);
  mountOverlay({ ...session.stack, target });
  undo.defer(() => clearStaleMount(target));
  return session;
}

/** Clears away what a server has left that was killed, or whose folder somebody else has unmounted. */
async function removeStaleMount(root: string, target: string): Promise<void> {
  const record = await readMountRecord(root, target);
  if (record === undefined) return;
  if (await isRunning(record.server)) {
    if (!record.stood || (await isMounted(target))) return;
    if (!(await serverEnds(record, endPatience))) throw stillRead(target);
  }
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

interface StandingMount {
  target: string;
  /** Not with libfuse. */
  session: ImageSession | undefined;
  /** The host's exit code; with 0 it has cleaned up, and the folder may be somebody else's by now. */
  endCode: number | undefined;
}

async function waitForUnmount(mount: StandingMount, signal: AbortSignal): Promise<void> {
  while (!signal.aborted && mount.endCode !== 0 && (await isMounted(mount.target))) {
    if (mount.endCode !== undefined) throw serverGone(mount.target, mount.endCode);
    await delay(watchInterval, undefined, { signal }).catch(() => {});
  }
}

/** The host cleans up, and where it cannot, this does. */
async function endMount(mount: StandingMount, undo: UndoStack): Promise<void> {
  const { target, session } = mount;
  if (session !== undefined) {
    if (mount.endCode === undefined) await clearStaleMount(target);
    await session.host.stop();
    if ((await session.host.ended) === 0) return session.leave();
  }
  await undo[Symbol.asyncDispose]();
}

function stillRead(directory: string): SiphonError {
  return new SiphonError(
    'busy',
    `Cannot mount on "${directory}": files of the image that was mounted there are still open, expected none`,
    { hint: `siphon umount ${directory} takes them away from whoever reads them.` },
  );
}

function serverGone(target: string, code: number): SiphonError {
  return new SiphonError(
    'unavailable',
    `Cannot go on serving "${target}": its server ended with exit code ${code}, expected it to live`,
  );
}

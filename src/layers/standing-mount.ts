/** An image's folder once it is mounted, by this process or by one before it. */

import { rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '../common/log.js';
import { UndoStack } from '../common/undo-stack.js';
import type { RegistryAccess } from '../remote/registry.js';
import type { Keeper } from './keeper.js';
import { LayerServer } from './layer-server.js';
import { recordOfHome, removeMountRecord } from './mount-record.js';
import { clearStaleMount, isMounted } from './mount-table.js';
import { openWorkplace } from './workplace.js';

export interface ImageMount {
  readonly target: string;
  /** Resolves when the folder is no longer mounted, whoever did it. */
  unmounted(signal: AbortSignal): Promise<void>;
  /** Unmounts, whatever still uses the folder; that gets errors from then on. */
  close(): Promise<void>;
}

const watchInterval = 1000; // ms

/**
 * Goes on with the mount of a server that died. The overlay stands and the layers are known, so this
 * needs no look at the image. Where it fails everything stays, for the next server to try.
 */
export async function resumeMount(
  { root, access, log }: { root: string; access?: RegistryAccess; log: Logger },
  keeper: Keeper,
  mountPoint: string,
): Promise<ImageMount> {
  const directory = dirname(mountPoint);
  const undo = new UndoStack();
  undo.defer(() => rm(directory, { recursive: true, force: true }));
  const { open } = await openWorkplace({ root, undo, keeper, access, log });
  const server = await LayerServer.start({ mountPoint, open, keeper, log });
  undo.defer(() => server[Symbol.asyncDispose]());
  const target = (await recordOfHome(directory))?.directory ?? '';
  undo.defer(() => clearStaleMount(target));
  undo.defer(() => removeMountRecord(root, target));
  return mountOn(target, undo);
}

/** @param undo takes the mount away */
export function mountOn(target: string, undo: UndoStack): ImageMount {
  return {
    target,
    unmounted: (signal) => waitForUnmount(target, signal),
    close: () => undo[Symbol.asyncDispose](),
  };
}

async function waitForUnmount(target: string, signal: AbortSignal): Promise<void> {
  while (!signal.aborted && (await isMounted(target))) {
    await delay(watchInterval, undefined, { signal }).catch(() => {});
  }
}

/**
 * A layer host at work: see layer-host.ts. Its first life is told by whoever started it what to serve; the
 * next ones find that among what their keeper holds in `layers.db`.
 */

import { rm } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '../common/log.js';
import { isMounted } from '../common/mount-info.js';
import { isRunning, type ProcessIdentity } from '../common/process.js';
import { UndoStack } from '../common/undo-stack.js';
import { untilAborted } from '../common/until-aborted.js';
import type { RegistryAccess } from '../remote/registry.js';
import type { Keeper } from './keeper.js';
import type { LayerHostOptions } from './layer-host.js';
import { LayerServer } from './layer-server.js';
import { recordOfHome, removeMountRecord } from './mount-record.js';
import { readMountStack } from './mount-stack.js';
import { clearStaleMount } from './mount-table.js';
import { mountOverlay } from './overlay-mount.js';
import { openWorkplace } from './workplace.js';

export interface HostLayersOptions extends LayerHostOptions {
  root: string;
  keeper: Keeper;
  /** Who started it. */
  owner: ProcessIdentity;
  access?: RegistryAccess;
  /** When layers begin to be brought here as a whole, in ms after they are served; default: never. */
  fillAfter?: number | undefined;
  log: Logger;
}

export interface HostedLayers {
  /** As LayerHost.serve. @throws SiphonError `corrupt`, `invalid`, `not-found` */
  serve(numbers: readonly number[]): Promise<string[]>;
  /** Resolves when nobody needs the layers any more; `stop` asks for it. */
  unneeded(stop: AbortSignal): Promise<void>;
  /** Unmounts what is the host's, whatever still uses it; that gets errors from then on. */
  close(): Promise<void>;
}

const watchInterval = 1000; // ms

const lostText =
  'the server before has died, and this kernel cannot hand its requests on (FUSE_NOTIFY_RESEND, Linux 6.9): ' +
  'whoever has files of the mount open gets errors';

/**
 * Mounts, or goes on with the mount of the server before. Where going on fails everything stays, for the next
 * server to try. @throws SiphonError `permission` or `unsupported` where FUSE cannot be had
 */
export async function hostLayers(options: HostLayersOptions): Promise<HostedLayers> {
  const { root, directory, target, keeper, access, fillAfter, log } = options;
  const undo = new UndoStack();
  const { open, layers } = await openWorkplace({ root, undo, keeper, access, fillAfter, log });
  const lost = keeper.isLost ? layers.held().map(({ number }) => number) : undefined;
  if (lost !== undefined) {
    log.error({ target, endedWith: keeper.endedWith }, lostText);
    await clearStaleMount(target);
  }
  const server = await LayerServer.start({ directory, open, keeper, log });
  undo.defer(() => server[Symbol.asyncDispose]());
  const serve = async (numbers: readonly number[]): Promise<string[]> => {
    for (const number of numbers) await server.serve(layers.get(number));
    server.allowSuccession();
    return numbers.map((number) => server.place(number));
  };
  if (lost !== undefined) {
    await serve(lost);
    if (await servesMount(options)) await mountAnew(options);
  }
  return {
    serve,
    async unneeded(stop) {
      await Promise.race([server.ended, noOneNeeds(options, stop)]);
      if (!stop.aborted) await lastUse(server, stop);
    },
    async close() {
      const isMount = await servesMount(options);
      if (isMount) await clearStaleMount(target);
      await undo[Symbol.asyncDispose]();
      if (!isMount) return;
      await rm(directory, { recursive: true, force: true });
      await removeMountRecord(root, target);
    },
  };
}

/** `siphon mount` has left the mount to us; a container's overlay is its monitor's. */
async function servesMount({ directory, keeper }: HostLayersOptions): Promise<boolean> {
  return (await recordOfHome(directory))?.server.pid === keeper.pid;
}

/** Nobody else is there to do it; on a kernel like this one, a server that is killed now is not succeeded. */
async function mountAnew({ directory, target, log }: HostLayersOptions): Promise<void> {
  mountOverlay({ base: directory, lowerdirs: await readMountStack(directory), target });
  log.warn({ target }, 'mounted anew');
}

async function noOneNeeds(options: HostLayersOptions, stop: AbortSignal): Promise<void> {
  const { target, owner, untilUnmounted } = options;
  for (let stood = false; ; await nextLook(stop)) {
    // Looked at first: the last that the owner does is to mount and to end.
    const mayMount = await isRunning(owner);
    const stands = await isMounted(target);
    stood ||= stands;
    if (stands ? stop.aborted && !untilUnmounted : stood || stop.aborted) return;
    if (!stands && !mayMount) return;
  }
}

/** Whoever had files of the overlay open when it was unmounted lazily reads them to the end. */
async function lastUse(server: LayerServer, stop: AbortSignal): Promise<void> {
  server.leave();
  await untilAborted(server.ended, stop).catch(() => {});
}

async function nextLook(stop: AbortSignal): Promise<void> {
  const options = stop.aborted ? {} : { signal: stop };
  await delay(watchInterval, undefined, options).catch(() => {});
}

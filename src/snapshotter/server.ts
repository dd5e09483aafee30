/**
 * The snapshotter as a service on a unix socket.
 *
 * Shutdown order: the socket goes, so that nobody new comes; calls in flight are aborted and their work
 * ends; connections close; the metadata closes last.
 */

import { Server, ServerCredentials } from '@grpc/grpc-js';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '../common/log.js';
import { SnapshotsService } from '../generated/containerd/services/snapshots/v1/snapshots.js';
import type { LazyLayers } from './lazy-layers.js';
import { snapshotsService } from './service.js';
import { Snapshotter } from './snapshotter.js';
import { bindSocket } from './socket.js';

/** How long answers may take to reach their clients at shutdown, in milliseconds. */
const SHUTDOWN_GRACE = 2_000;

export interface SnapshotterOptions {
  /** Folder of the metadata and the snapshots; made where missing. */
  root: string;
  /** Path of the unix socket. */
  address: string;
  /** Who serves lazy layers; without, every layer is left to containerd to unpack. */
  lazy: LazyLayers | undefined;
  /** Whether mounts say `uidmap=` and `gidmap=` where labels ask for it; default: no. */
  remapIds?: boolean;
  log: Logger;
}

export interface SnapshotterServer {
  /** Aborts calls in flight, waits until their work has ended, and removes the socket. */
  close(): Promise<void>;
}

/**
 * Serves containerd's snapshots API until closed.
 * @throws SiphonError `busy` where a live server has the address or the root; `usage`, `corrupt`
 */
export async function serveSnapshotter(options: SnapshotterOptions): Promise<SnapshotterServer> {
  const { address, ...parts } = options;
  const { root, log } = parts;
  const snapshotter = await Snapshotter.open(parts);
  const server = new Server();
  try {
    const service = snapshotsService(snapshotter, log);
    server.addService(SnapshotsService, service.implementation);
    const socket = await bindSocket(address, (path) => bind(server, path));
    log.info({ address, root }, 'snapshotter is listening');
    const close = async (): Promise<void> => {
      await socket.remove();
      await service.drain();
      await shutDown(server);
      await snapshotter.close();
    };
    return { close: onlyOnce(close) };
  } catch (error) {
    server.forceShutdown();
    await snapshotter.close();
    throw error;
  }
}

function bind(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), (error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
}

/** Clients keep their connections open, so that only force ends the last of them. */
async function shutDown(server: Server): Promise<void> {
  const done = new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
  const late = new AbortController();
  const grace = delay(SHUTDOWN_GRACE, undefined, { signal: late.signal }).catch(() => undefined);
  await Promise.race([done, grace]);
  late.abort();
  server.forceShutdown();
}

function onlyOnce(close: () => Promise<void>): () => Promise<void> {
  let closed: Promise<void> | undefined;
  return () => (closed ??= close());
}

/**
 * The snapshotter as a service on a unix socket.
 *
 * Shutdown order: the socket goes, so that nobody new comes; calls in flight are aborted and their work
 * ends; connections close; the metadata closes last. Where another process goes on, its place stays, and
 * whoever connects waits for that one; calls in flight may end.
 */

import {
  Server,
  ServerCredentials,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { once } from 'node:events';
import { type Socket, type Server as SocketServer, createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '../common/log.js';
import { SnapshotsService } from '../generated/containerd/services/snapshots/v1/snapshots.js';
import type { LazyLayers } from './lazy-layers.js';
import { snapshotsService } from './service.js';
import { Snapshotter } from './snapshotter.js';
import { type Listener, backlog, openListener, removeListener } from './socket.js';

/** Longest message that is taken, in bytes; as containerd does. */
const MAX_MESSAGE = 16 * 1024 * 1024;
/** How long answers may take to reach their clients at shutdown, in milliseconds. */
const SHUTDOWN_GRACE = 2_000;
/** How long calls may go on where another process waits to take over, in milliseconds. */
const HAND_OVER_GRACE = 30_000;

export interface SnapshotterOptions {
  /** Folder of the metadata and the snapshots; made where missing. */
  root: string;
  /** Path of the unix socket. */
  address: string;
  /** Listens there already, for this process and those after it. */
  listener?: Listener | undefined;
  /** Who serves lazy layers; without, every layer is left to containerd to unpack. */
  lazy: LazyLayers | undefined;
  /** Whether mounts say `uidmap=` and `gidmap=` where labels ask for it; default: no. */
  remapIds?: boolean;
  /** Other services on the same socket. */
  beside?: BesideServices | undefined;
  log: Logger;
}

export interface BesideServices {
  services: readonly {
    definition: ServiceDefinition;
    implementation: UntypedServiceImplementation;
  }[];
  /** Ends their calls. */
  close(): void;
}

export interface SnapshotterServer {
  /** Aborts calls in flight, waits until their work has ended, and removes the socket. */
  close(): Promise<void>;
  /** As {@link close}, for another process with the same listener: nobody is turned away meanwhile. */
  handOver(): Promise<void>;
}

/**
 * Serves containerd's snapshots API until closed.
 * @throws SiphonError `busy` where a live server has the address or the root; `usage`, `corrupt`
 */
export async function serveSnapshotter(options: SnapshotterOptions): Promise<SnapshotterServer> {
  const { address, listener: given, beside, ...parts } = options;
  const { root, log } = parts;
  const snapshotter = await Snapshotter.open(parts);
  const server = new Server({ 'grpc.max_receive_message_length': MAX_MESSAGE });
  try {
    const service = snapshotsService(snapshotter, log);
    server.addService(SnapshotsService, service.implementation);
    for (const { definition, implementation } of beside?.services ?? [])
      server.addService(definition, implementation);
    const listener = given ?? (await openListener(address));
    const { socket, connections } = await accept(server, listener);
    log.info({ address, root }, 'snapshotter is listening');
    const end = async (isLast: boolean): Promise<void> => {
      socket.close();
      // What goes on there may itself wait for the server to come.
      beside?.close();
      if (isLast) await removeListener(listener);
      else await within(HAND_OVER_GRACE, answered(server, connections));
      await service.drain();
      // Clients keep their connections open, so that only force ends the last of them.
      if (isLast) await within(SHUTDOWN_GRACE, answered(server, connections));
      server.forceShutdown();
      await snapshotter.close();
    };
    let ended: Promise<void> | undefined;
    return { close: () => (ended ??= end(true)), handOver: () => (ended ??= end(false)) };
  } catch (error) {
    server.forceShutdown();
    await snapshotter.close();
    throw error;
  }
}

interface Accepting {
  socket: SocketServer;
  /** Those that are open. */
  connections: ReadonlySet<Socket>;
}

/** The library listens itself or not at all; it takes connections from others. */
async function accept(server: Server, { fd }: Listener): Promise<Accepting> {
  const clients = server.createConnectionInjector(ServerCredentials.createInsecure());
  const connections = new Set<Socket>();
  const socket = createServer({ allowHalfOpen: true }, (client) => {
    connections.add(client);
    client.once('close', () => connections.delete(client));
    clients.injectConnection(client);
  });
  socket.listen({ fd, backlog });
  await once(socket, 'listening');
  return { socket, connections };
}

/** Takes no more calls; resolves when those in flight are answered and their connections closed. */
async function answered(server: Server, connections: ReadonlySet<Socket>): Promise<void> {
  // With Node 24 it calls back while calls go on: its HTTP/2 server closes sessions by itself, and those count as ended.
  await new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
  const closed = (client: Socket): Promise<void> =>
    new Promise((resolve) => client.once('close', () => resolve()));
  await Promise.all([...connections].map(closed));
}

/** Resolves when `work` has ended, or after `patience` ms. */
async function within(patience: number, work: Promise<void>): Promise<void> {
  const late = new AbortController();
  const grace = delay(patience, undefined, { signal: late.signal }).catch(() => undefined);
  await Promise.race([work, grace]);
  late.abort();
}

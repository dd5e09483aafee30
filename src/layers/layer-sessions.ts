/**
 * The FUSE sessions behind a layer server, one for each of {@link layerMounts}. The first begins with the server, the
 * other with its first layer: threads take memory. Where the server before left mounts, they go on.
 */

import { closeSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { SiphonError, errorMessage, systemCode } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import { isMounted } from '../common/mount-info.js';
import { openConnection } from '../fuse/device.js';
import {
  type Connection,
  FuseSession,
  type FuseStats,
  type ResumeOptions,
  type ServeOptions,
  type ServedLayer,
} from '../fuse/fuse-session.js';
import type { Keeper } from './keeper.js';
import { type LayerMount, layerMounts } from './layer-mounts.js';
import { clearStaleMount } from './mount-table.js';
import type { OpenLayers } from './open-layers.js';

export interface LayerSessionsOptions {
  /** Folder of the mounts. */
  directory: string;
  open: OpenLayers;
  keeper: Keeper | undefined;
  serving: ServeOptions;
  log: Logger;
}

export class LayerSessions implements AsyncDisposable {
  readonly #options: LayerSessionsOptions;
  /** Descriptors of the keeper's that nothing is mounted through yet. */
  readonly #devices = new Map<LayerMount, number>();
  /** What is mounted through the keeper's descriptors. */
  readonly #connections: Connection[] = [];
  readonly #beginning = new Map<LayerMount, Promise<FuseSession>>();
  readonly #running = new Map<LayerMount, FuseSession>();
  /** Whether layers with attributes have a mount of their own; a keeper of old holds one descriptor. */
  readonly #isSplit: boolean;
  #mayBeSucceeded = false;

  private constructor(options: LayerSessionsOptions) {
    const { keeper } = options;
    this.#options = options;
    this.#isSplit = keeper?.devices.length !== 1;
    for (const [at, mount] of layerMounts.entries()) {
      const device = keeper?.devices[at];
      const isUsed = keeper?.kept.some((connection) => connection.device === device);
      if (device !== undefined && isUsed === false) this.#devices.set(mount, device);
    }
  }

  /** @throws SiphonError `permission` or `unsupported` where FUSE cannot be had */
  static async start(options: LayerSessionsOptions): Promise<LayerSessions> {
    const sessions = new LayerSessions(options);
    const kept = await keptMounts(options);
    for (const mount of layerMounts)
      if (!kept.has(mount)) await clearStaleMount(sessions.#mountPoint(mount));
    if (kept.size > 0) await sessions.#goOn(kept);
    else options.open.forgetHeld();
    await sessions.#session('fuse');
    return sessions;
  }

  /** The session that shows this layer, which is open. @throws as {@link start} */
  of(number: number): Promise<FuseSession> {
    return this.#session(this.#mountOf(number));
  }

  /** Where the layer's tree stands: the mount's subfolder and its own. The layer is open. */
  place(number: number): string {
    return `${this.#mountOf(number)}/${number}`;
  }

  /** Takes a layer that is open away from look-ups. */
  remove(number: number): void {
    this.#running.get(this.#mountOf(number))?.removeLayer(number);
  }

  /** Of all together. */
  stats(): FuseStats {
    const sum: FuseStats = { requests: {}, misses: 0, failedReads: 0, bytesRead: 0 };
    for (const session of this.#all()) {
      const { requests, misses, failedReads, bytesRead } = session.stats();
      for (const [name, count] of Object.entries(requests))
        sum.requests[name] = (sum.requests[name] ?? 0) + count;
      sum.misses += misses;
      sum.failedReads += failedReads;
      sum.bytesRead += bytesRead;
    }
    return sum;
  }

  /** Resolves when the mounts that are there now are gone, whoever took them away. */
  get ended(): Promise<void> {
    return Promise.all(this.#all().map((session) => session.ended)).then(() => undefined);
  }

  /** Takes the mounts out of the tree; they are served on for whoever uses them. */
  leave(): void {
    for (const session of this.#all()) session.leave();
  }

  /** From now on another server can go on with what is mounted through the keeper, or will be. */
  allowSuccession(): void {
    this.#mayBeSucceeded = true;
    this.#tellKeeper();
  }

  /** Unmounts, whatever still uses the mounts. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled(this.#beginning.values());
    for (const session of this.#all()) await session.unmount({ lazy: true });
  }

  #all(): FuseSession[] {
    return [...this.#running.values()];
  }

  #mountPoint(mount: LayerMount): string {
    return join(this.#options.directory, mount);
  }

  #mountOf(number: number): LayerMount {
    return this.#isSplit && this.#options.open.hasXattrs(number) ? 'xattr' : 'fuse';
  }

  #session(mount: LayerMount): Promise<FuseSession> {
    return this.#beginning.get(mount) ?? this.#keep(mount, this.#begin(mount));
  }

  #keep(mount: LayerMount, beginning: Promise<FuseSession>): Promise<FuseSession> {
    const begun = beginning.then((session) => {
      this.#running.set(mount, session);
      return session;
    });
    begun.catch(() => this.#beginning.delete(mount));
    this.#beginning.set(mount, begun);
    return begun;
  }

  async #begin(mount: LayerMount): Promise<FuseSession> {
    const mountPoint = this.#mountPoint(mount);
    const noXattrs = this.#isSplit && mount === 'fuse';
    const device = this.#devices.get(mount);
    this.#devices.delete(mount);
    await makeMountPoint(mountPoint);
    if (device === undefined)
      return FuseSession.mount({ ...this.#options.serving, mountPoint, noXattrs });
    const withoutResend = process.env['SIPHON_WITHOUT_RESEND'] === '1';
    return this.#serveKept(openConnection(mountPoint, { device, withoutResend, noXattrs }));
  }

  /** Serves what was just mounted through a descriptor of the keeper's. */
  async #serveKept(connection: Connection): Promise<FuseSession> {
    try {
      const session = await FuseSession.serve(connection, this.#options.serving);
      this.#connections.push(connection);
      this.#tellKeeper();
      return session;
    } catch (error) {
      await clearStaleMount(connection.mountPoint);
      closeSync(connection.device);
      throw error;
    }
  }

  #tellKeeper(): void {
    if (this.#mayBeSucceeded && this.#connections.length > 0)
      this.#options.keeper?.allowSuccession(this.#connections);
  }

  async #goOn(kept: ReadonlyMap<LayerMount, Connection>): Promise<void> {
    const { open, keeper, serving, log } = this.#options;
    const { opened: layers, awaited } = open.openHeld();
    const resumed = [...kept].map(([mount, connection]) => {
      const own = layers.filter(({ number }) => this.#mountOf(number) === mount);
      // Nobody knows yet which of the mounts had a layer whose index is built again.
      const before: ResumeOptions = {
        ...serving,
        layers: own,
        awaited: [...awaited.keys()],
        resume: true,
      };
      this.#connections.push(connection);
      return this.#keep(mount, FuseSession.serve(connection, before));
    });
    await Promise.all(resumed);
    this.allowSuccession();
    for (const layer of layers) {
      const isShown = kept.has(this.#mountOf(layer.number));
      if (!isShown) (await this.of(layer.number)).addLayer(layer);
    }
    for (const [number, layer] of awaited) void this.#addAwaited(number, layer);
    log.warn(
      {
        mountPoints: [...kept.values()].map(({ mountPoint }) => mountPoint),
        layers: layers.length,
        awaited: awaited.size,
        endedWith: keeper?.endedWith,
        server: process.pid,
      },
      'the server before has ended; going on with its mounts',
    );
  }

  async #addAwaited(number: number, awaited: Promise<ServedLayer>): Promise<void> {
    try {
      const layer = await awaited;
      const shows = await this.of(number);
      shows.addLayer(layer);
      for (const session of this.#all()) if (session !== shows) session.removeLayer(number);
    } catch (error) {
      const sessions = this.#all();
      if (sessions.some((session) => session.isEnding)) return;
      this.#options.log.error(
        { layer: number, err: error },
        `layer is not served any more: ${errorMessage(error)}`,
      );
      for (const session of sessions) session.removeLayer(number);
    }
  }
}

/** What the server before had mounted here, and still is. */
async function keptMounts({
  directory,
  keeper,
}: LayerSessionsOptions): Promise<Map<LayerMount, Connection>> {
  const kept = new Map<LayerMount, Connection>();
  for (const mount of layerMounts) {
    const mountPoint = join(directory, mount);
    const connection = keeper?.kept.find((one) => one.mountPoint === mountPoint);
    if (connection !== undefined && (await isMounted(mountPoint))) kept.set(mount, connection);
  }
  return kept;
}

/** @throws SiphonError `not-found` where its parent is gone, and with that whoever wanted the layers */
async function makeMountPoint(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (cause) {
    if (systemCode(cause) === 'EEXIST') return;
    if (systemCode(cause) !== 'ENOENT') throw cause;
    throw new SiphonError(
      'not-found',
      `Cannot serve layers in "${path}": its folder is gone, expected it to stay`,
      { cause },
    );
  }
}

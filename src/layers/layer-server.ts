/** Layers behind one kernel mount: a folder each, named by its number. */

import { mkdir } from 'node:fs/promises';
import type { Logger } from '../common/log.js';
import { SiphonError, errorMessage, systemCode } from '../common/errors.js';
import { isMounted } from '../common/mount-info.js';
import { openConnection } from '../fuse/device.js';
import {
  type Connection,
  FuseSession,
  type FuseStats,
  type ServeOptions,
  type ServedLayer,
} from '../fuse/fuse-session.js';
import type { Keeper } from './keeper.js';
import type { LayerRecord } from './layer-store.js';
import { clearStaleMount } from './mount-table.js';
import type { OpenLayers } from './open-layers.js';

export interface LayerServerOptions {
  /** Folder for the FUSE mount; made where it is missing, in one that is there. */
  mountPoint: string;
  /** The layers that may be shown; whoever made it closes it after the server. */
  open: OpenLayers;
  /** Holds the connection, so that another process can go on with the mount when this one dies. */
  keeper?: Keeper | undefined;
  /** How long a read waits for the registry, in ms. */
  fetchTimeout?: number;
  log: Logger;
}

export class LayerServer implements AsyncDisposable {
  readonly #open: OpenLayers;
  readonly #session: FuseSession;
  readonly #log: Logger;
  /** To be called once everything is there that the next process relies on. */
  readonly allowSuccession: () => void;

  private constructor(
    session: FuseSession,
    { open, log }: Pick<LayerServerOptions, 'open' | 'log'>,
    allowSuccession: () => void = () => undefined,
  ) {
    this.#open = open;
    this.#session = session;
    this.#log = log;
    this.allowSuccession = allowSuccession;
  }

  /** Mounts, or goes on with the mount of the process before. @throws SiphonError `permission` or `unsupported` where FUSE cannot be had */
  static async start(options: LayerServerOptions): Promise<LayerServer> {
    const { mountPoint, open, fetchTimeout, keeper, log } = options;
    const serving: ServeOptions = {
      fetch: (miss, signal) => open.fetch(miss, signal),
      unkept: (miss) => open.unkept(miss),
      problem: (layer) => open.problem(layer),
      ...(fetchTimeout === undefined ? {} : { fetchTimeout }),
      log,
    };
    const kept = keeper?.kept;
    if (kept?.mountPoint === mountPoint && (await isMounted(mountPoint))) {
      return LayerServer.#goOn(kept, serving, options);
    }
    await clearStaleMount(mountPoint);
    await makeMountPoint(mountPoint);
    open.forgetHeld();
    if (keeper?.device === undefined || kept !== undefined) {
      return new LayerServer(await FuseSession.mount({ ...serving, mountPoint }), options);
    }
    return LayerServer.#begin({ keeper, device: keeper.device, serving }, options);
  }

  /** Mounts through the keeper's descriptor. */
  static async #begin(
    { keeper, device, serving }: { keeper: Keeper; device: number; serving: ServeOptions },
    options: LayerServerOptions,
  ): Promise<LayerServer> {
    const { mountPoint } = options;
    const withoutResend = process.env['SIPHON_WITHOUT_RESEND'] === '1';
    const connection = openConnection(mountPoint, { device, withoutResend });
    try {
      const session = await FuseSession.serve(connection, serving);
      return new LayerServer(session, options, () => keeper.allowSuccession(connection));
    } catch (error) {
      await clearStaleMount(mountPoint);
      throw error;
    }
  }

  static async #goOn(
    connection: Connection,
    serving: ServeOptions,
    options: LayerServerOptions,
  ): Promise<LayerServer> {
    const { open, keeper, log } = options;
    const { opened: layers, awaited } = open.openHeld();
    const before = { layers, awaited: [...awaited.keys()], resume: true };
    const session = await FuseSession.serve(connection, { ...serving, ...before });
    for (const [number, opened] of awaited) void addAwaited(session, number, opened, log);
    keeper?.allowSuccession(connection);
    const { mountPoint } = connection;
    const about = { mountPoint, layers: layers.length, awaited: awaited.size };
    log.warn(
      { ...about, endedWith: keeper?.endedWith, server: process.pid },
      'the server before has ended; going on with its mount',
    );
    return new LayerServer(session, options);
  }

  /** Resolves when the mount is gone, whoever took it away. */
  get ended(): Promise<void> {
    return this.#session.ended;
  }

  stats(): FuseStats {
    return this.#session.stats();
  }

  /** Where the layer's tree stands, once {@link serve} has returned. */
  path(number: number): string {
    return this.#session.layerPath(number);
  }

  /**
   * Shows a layer whose index is here; again and again is fine. @returns its folder
   * @throws SiphonError `corrupt` or `invalid` where the index cannot be trusted
   */
  serve(record: LayerRecord): string {
    if (!this.#open.has(record.number)) {
      this.#session.addLayer(this.#open.open(record));
      this.#prefetch(record);
    }
    return this.path(record.number);
  }

  /**
   * As {@link serve}, for a layer that was served before: where its index cannot be trusted any more, another
   * is built of the blob that is kept here.
   * @throws as {@link serve}, where the blob is not kept or no better
   */
  async restore(record: LayerRecord): Promise<string> {
    try {
      return this.serve(record);
    } catch (error) {
      if (!(await this.#open.repair(record, error))) throw error;
      return this.serve(record);
    }
  }

  /** Nobody waits for it, and what fails is fetched when it is read. */
  #prefetch({ number, blobDigest }: LayerRecord): void {
    this.#open.prefetch(number).catch((error: unknown) => {
      this.#log.debug({ layer: blobDigest, reason: errorMessage(error) }, 'not fetched ahead');
    });
  }

  /** Takes a layer away; nothing may have it mounted any more. */
  async stopServing(number: number): Promise<void> {
    if (!this.#open.has(number)) return;
    this.#session.removeLayer(number);
    await this.#open.close(number);
  }

  /** Takes the mount out of the tree; it is served on for whoever uses it, until {@link ended}. */
  leave(): void {
    this.#session.leave();
  }

  /** Unmounts, whatever still uses the mount; that gets errors from then on. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session.unmount({ lazy: true });
  }
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

async function addAwaited(
  session: FuseSession,
  number: number,
  opened: Promise<ServedLayer>,
  log: Logger,
): Promise<void> {
  try {
    session.addLayer(await opened);
  } catch (error) {
    if (session.isEnding) return;
    log.error(
      { layer: number, err: error },
      `layer is not served any more: ${errorMessage(error)}`,
    );
    session.removeLayer(number);
  }
}

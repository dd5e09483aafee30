/** Layers behind one kernel mount: a folder each, named by its number. */

import { mkdir } from 'node:fs/promises';
import type { Logger } from '../common/log.js';
import { FuseSession } from '../fuse/fuse-session.js';
import type { LayerRecord } from './layer-store.js';
import { clearStaleMount } from './mount-table.js';
import type { OpenLayers } from './open-layers.js';

export interface LayerServerOptions {
  /** Folder for the FUSE mount; made where it is missing. */
  mountPoint: string;
  /** The layers that may be shown; whoever made it closes it after the server. */
  open: OpenLayers;
  /** How long a read waits for the registry, in ms. */
  fetchTimeout?: number;
  log: Logger;
}

export class LayerServer implements AsyncDisposable {
  readonly #open: OpenLayers;
  readonly #session: FuseSession;

  private constructor(open: OpenLayers, session: FuseSession) {
    this.#open = open;
    this.#session = session;
  }

  /** Mounts. @throws SiphonError `permission` or `unsupported` where FUSE cannot be had */
  static async start(options: LayerServerOptions): Promise<LayerServer> {
    const { mountPoint, open, fetchTimeout, log } = options;
    await clearStaleMount(mountPoint);
    await mkdir(mountPoint, { recursive: true, mode: 0o700 });
    const session = await FuseSession.mount({
      mountPoint,
      fetch: (miss, signal) => open.fetch(miss, signal),
      ...(fetchTimeout === undefined ? {} : { fetchTimeout }),
      log,
    });
    return new LayerServer(open, session);
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
    if (!this.#open.has(record.number)) this.#session.addLayer(this.#open.open(record));
    return this.path(record.number);
  }

  /** Takes a layer away; nothing may have it mounted any more. */
  async stopServing(number: number): Promise<void> {
    if (!this.#open.has(number)) return;
    this.#session.removeLayer(number);
    await this.#open.close(number);
  }

  /** Unmounts, whatever still uses the mount; that gets errors from then on. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session.unmount({ lazy: true });
  }
}

/** Layers as folders, each named by its number, in the kernel mounts that show them. */

import { join } from 'node:path';
import type { Logger } from '../common/log.js';
import { errorMessage } from '../common/errors.js';
import type { FuseStats, ServeOptions } from '../fuse/fuse-session.js';
import type { Keeper } from './keeper.js';
import { LayerSessions } from './layer-sessions.js';
import type { LayerRecord } from './layer-store.js';
import type { OpenLayers } from './open-layers.js';

export interface LayerServerOptions {
  /** Folder of the FUSE mounts (see layer-mounts.ts), whose own folders are made where they are missing. */
  directory: string;
  /** The layers that may be shown; whoever made it closes it after the server. */
  open: OpenLayers;
  /** Holds the connections, so that another process can go on with the mounts when this one dies. */
  keeper?: Keeper | undefined;
  /** How long a read waits for the registry, in ms. */
  fetchTimeout?: number;
  log: Logger;
}

export class LayerServer implements AsyncDisposable {
  readonly #directory: string;
  readonly #open: OpenLayers;
  readonly #sessions: LayerSessions;
  readonly #log: Logger;

  private constructor(sessions: LayerSessions, { directory, open, log }: LayerServerOptions) {
    this.#directory = directory;
    this.#open = open;
    this.#sessions = sessions;
    this.#log = log;
  }

  /** Mounts, or goes on with the mounts of the process before. @throws SiphonError `permission` or `unsupported` where FUSE cannot be had */
  static async start(options: LayerServerOptions): Promise<LayerServer> {
    const { directory, open, fetchTimeout, keeper, log } = options;
    const serving: ServeOptions = {
      fetch: (miss, signal) => open.fetch(miss, signal),
      unkept: (miss) => open.unkept(miss),
      problem: (layer) => open.problem(layer),
      ...(fetchTimeout === undefined ? {} : { fetchTimeout }),
      log,
    };
    const sessions = await LayerSessions.start({ directory, open, keeper, serving, log });
    return new LayerServer(sessions, options);
  }

  /** To be called once everything is there that the next process relies on. */
  allowSuccession(): void {
    this.#sessions.allowSuccession();
  }

  /** Resolves when the mounts are gone, whoever took them away. */
  get ended(): Promise<void> {
    return this.#sessions.ended;
  }

  stats(): FuseStats {
    return this.#sessions.stats();
  }

  /** Where the layer's tree stands, once {@link serve} has returned. @throws SiphonError `not-found` */
  path(number: number): string {
    return join(this.#directory, this.place(number));
  }

  /** As {@link path}, below the folder of the mounts. */
  place(number: number): string {
    return this.#sessions.place(number);
  }

  /**
   * Shows a layer whose index is here; again and again is fine. @returns its folder
   * @throws SiphonError `corrupt` or `invalid` where the index cannot be trusted; as {@link start}
   */
  async serve(record: LayerRecord): Promise<string> {
    const { number } = record;
    const isNew = !this.#open.has(number);
    const layer = this.#open.open(record);
    try {
      const session = await this.#sessions.of(number);
      if (isNew && this.#open.has(number)) session.addLayer(layer);
    } catch (error) {
      if (isNew) await this.#open.close(number);
      throw error;
    }
    if (isNew) this.#prefetch(record);
    return this.path(number);
  }

  /**
   * As {@link serve}, for a layer that was served before: where its index cannot be trusted any more, another
   * is built of the blob that is kept here.
   * @throws as {@link serve}, where the blob is not kept or no better
   */
  async restore(record: LayerRecord): Promise<string> {
    try {
      return await this.serve(record);
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
    this.#sessions.remove(number);
    await this.#open.close(number);
  }

  /** Takes the mounts out of the tree; they are served on for whoever uses them, until {@link ended}. */
  leave(): void {
    this.#sessions.leave();
  }

  /** Unmounts, whatever still uses the mounts; that gets errors from then on. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sessions[Symbol.asyncDispose]();
  }
}

/**
 * The layers being served right now: one FUSE mount, and behind each of its folders an index, a span
 * cache and a source for what is missing. A source is opened when the first missing span is asked for,
 * so a layer that is all here needs no registry.
 */

import { mkdir } from 'node:fs/promises';
import type { BlobSource } from '../common/blob-source.js';
import { SiphonError } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import type { ContentStore } from '../content/content-store.js';
import { openOrigin } from '../content/layer-origin.js';
import { FuseSession, type Miss } from '../fuse/fuse-session.js';
import { LayerIndex } from '../index/layer-index.js';
import { SpanCache } from '../index/span-cache.js';
import { SpanReader } from '../index/span-reader.js';
import { clearStaleMount } from './mount-table.js';
import { type LayerRecord, type LayerStore, indexExpectation } from './layer-store.js';

export interface LayerServerOptions {
  /** Folder for the FUSE mount; made where it is missing. */
  mountPoint: string;
  layers: LayerStore;
  content: ContentStore;
  /** How long a read waits for the registry, in ms. */
  fetchTimeout?: number;
  log: Logger;
}

interface Served {
  record: LayerRecord;
  index: LayerIndex;
  cache: SpanCache;
  reader: SpanReader;
}

export class LayerServer implements AsyncDisposable {
  readonly #options: LayerServerOptions;
  readonly #served = new Map<number, Served>();
  #session: FuseSession | undefined;

  private constructor(options: LayerServerOptions) {
    this.#options = options;
  }

  /** Mounts. @throws SiphonError `permission` or `unsupported` where FUSE cannot be had */
  static async start(options: LayerServerOptions): Promise<LayerServer> {
    await clearStaleMount(options.mountPoint);
    await mkdir(options.mountPoint, { recursive: true, mode: 0o700 });
    const server = new LayerServer(options);
    server.#session = await FuseSession.mount({
      mountPoint: options.mountPoint,
      fetch: (miss, signal) => server.#fetch(miss, signal),
      ...(options.fetchTimeout === undefined ? {} : { fetchTimeout: options.fetchTimeout }),
      log: options.log,
    });
    return server;
  }

  /** Where the layer's tree stands, once {@link serve} has returned. */
  path(number: number): string {
    return this.#fuse().layerPath(number);
  }

  /**
   * Shows a layer whose index is here; again and again is fine.
   * @throws SiphonError `corrupt` or `invalid` where the index cannot be trusted
   */
  serve(record: LayerRecord): string {
    if (!this.#served.has(record.number)) {
      const served = this.#open(record);
      this.#options.layers.hold(record.number);
      this.#served.set(record.number, served);
      this.#fuse().addLayer({
        number: record.number,
        indexPath: this.#options.layers.indexPath(record.number),
        cachePath: served.cache.dataPath,
        presence: served.cache.presence,
      });
    }
    return this.path(record.number);
  }

  serves(number: number): boolean {
    return this.#served.has(number);
  }

  /** Takes a layer away; nothing may have it mounted any more. */
  async stopServing(number: number): Promise<void> {
    const served = this.#served.get(number);
    if (served === undefined) return;
    this.#served.delete(number);
    this.#fuse().removeLayer(number);
    await this.#close(served);
  }

  /** Bytes of the layer on this disk, and its inodes. */
  usage(number: number): { size: number; inodes: number } {
    const served = this.#served.get(number);
    if (served === undefined) throw notServed(number);
    return { size: served.cache.presentBytes(), inodes: served.index.info.inodeCount };
  }

  /** Bytes drawn from sources since the start, over all layers. */
  fetchedBytes(): number {
    let bytes = 0;
    for (const served of this.#served.values()) bytes += served.reader.fetchedBytes;
    return bytes;
  }

  /** Unmounts and closes everything. @throws SiphonError `busy` while something uses the mount, unless lazy */
  async close(options: { lazy?: boolean } = {}): Promise<void> {
    await this.#fuse().unmount(options);
    for (const served of this.#served.values()) await this.#close(served);
    this.#served.clear();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close({ lazy: true });
  }

  #open(record: LayerRecord): Served {
    const { layers } = this.#options;
    const index = LayerIndex.open(layers.indexPath(record.number), indexExpectation(record));
    let cache: SpanCache | undefined;
    try {
      cache = SpanCache.open(layers.directory(record.number), index.spanBounds);
      const reader = new SpanReader({ index, cache, source: () => this.#source(record, index) });
      return { record, index, cache, reader };
    } catch (error) {
      cache?.close();
      index.close();
      throw error;
    }
  }

  async #source(record: LayerRecord, index: LayerIndex): Promise<BlobSource> {
    const { blobDigest: digest, blobSize: size } = index.info;
    if (await this.#options.content.has(digest))
      return this.#options.content.source({ digest, size });
    return openOrigin(record.origin, { mediaType: record.mediaType, digest, size });
  }

  async #fetch(miss: Miss, signal: AbortSignal): Promise<void> {
    const served = this.#served.get(miss.layer);
    if (served === undefined) throw notServed(miss.layer);
    await served.reader.ensure(miss.firstSpan, miss.lastSpan, signal);
  }

  async #close(served: Served): Promise<void> {
    await served.reader.close();
    served.cache.close();
    served.index.close();
    this.#options.layers.drop(served.record.number);
  }

  #fuse(): FuseSession {
    if (this.#session === undefined) {
      throw new SiphonError('internal', 'Cannot use the layer server: it is not mounted');
    }
    return this.#session;
  }
}

function notServed(number: number): SiphonError {
  return new SiphonError('not-found', `Cannot find layer ${number} among those served`);
}

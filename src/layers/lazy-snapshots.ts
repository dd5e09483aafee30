/**
 * The lazy layers that the snapshotter sees: every layer of an image is prepared as soon as the first
 * of them is asked for, and each keeps its origin, so that it is served again after a restart without
 * a registry.
 */

import { setMaxListeners } from 'node:events';
import { LRUCache } from 'lru-cache';
import type { Digest } from '../common/digest.js';
import { SiphonError, errorMessage } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import type { ContentStore } from '../content/content-store.js';
import { type Image, openImage } from '../content/image.js';
import { parseReference } from '../remote/reference.js';
import type { LazyLayer, LazyLayerRequest, LazyLayers } from '../snapshotter/lazy-layers.js';
import type { LayerPreparer } from './layer-preparer.js';
import type { LayerServer } from './layer-server.js';
import type { LayerRecord, LayerStore } from './layer-store.js';
import type { OpenLayers } from './open-layers.js';

export interface LazySnapshotsOptions {
  layers: LayerStore;
  content: ContentStore;
  preparer: LayerPreparer;
  server: LayerServer;
  open: OpenLayers;
  log: Logger;
}

/** Images stay open while their layers are asked for one after the other. */
const openImages = { max: 64, ttl: 5 * 60_000 };

export class LazySnapshots implements LazyLayers, AsyncDisposable {
  readonly #options: LazySnapshotsOptions;
  readonly #closing = new AbortController();
  readonly #images = new LRUCache<string, Promise<Image>>({
    ...openImages,
    ttlAutopurge: true,
    dispose: (image) => void image.then((open) => open.close()).catch(() => {}),
  });

  constructor(options: LazySnapshotsOptions) {
    this.#options = options;
    // Every layer under way listens.
    setMaxListeners(0, this.#closing.signal);
  }

  async prepare(request: LazyLayerRequest): Promise<LazyLayer> {
    const image = await this.#image(request);
    const asked = this.#prepareLayer(image, request.layerDigest, request.signal);
    for (const digest of request.imageLayers) this.#prepareAhead(image, digest);
    const record = await asked;
    return { number: record.number, path: this.#options.server.serve(record) };
  }

  restore(number: number): Promise<{ path: string }> {
    const { layers, server } = this.#options;
    return Promise.resolve().then(() => ({ path: server.serve(layers.get(number)) }));
  }

  path(number: number): string {
    return this.#options.server.path(number);
  }

  async usage(number: number): Promise<{ size: number; inodes: number }> {
    await this.restore(number);
    return this.#options.open.usage(number);
  }

  async release(number: number): Promise<void> {
    const { layers, server, content } = this.#options;
    const record = layers.get(number);
    await server.stopServing(number);
    if (await layers.remove(number)) await content.delete(record.blobDigest);
  }

  /** Ends what is being prepared. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    this.#images.clear();
    return Promise.resolve();
  }

  #image(request: LazyLayerRequest): Promise<Image> {
    const key = `${request.reference} ${request.manifestDigest ?? ''}`;
    const known = this.#images.get(key);
    if (known !== undefined) return known;
    const reference = parseReference(request.reference);
    const opening = openImage(
      {
        kind: 'registry',
        reference:
          request.manifestDigest === undefined
            ? reference
            : { ...reference, digest: request.manifestDigest },
      },
      { store: this.#options.content, signal: this.#closing.signal, log: this.#options.log },
    );
    this.#images.set(key, opening);
    opening.catch(() => this.#images.delete(key));
    return opening;
  }

  #prepareAhead(image: Image, digest: Digest): void {
    this.#prepareLayer(image, digest, this.#closing.signal).catch((error: unknown) => {
      this.#options.log.debug({ layer: digest, reason: errorMessage(error) }, 'not prepared ahead');
    });
  }

  async #prepareLayer(image: Image, digest: Digest, signal: AbortSignal): Promise<LayerRecord> {
    const layer = image.layers.find((one) => one.descriptor.digest === digest);
    if (layer === undefined) {
      throw new SiphonError(
        'not-found',
        `Cannot prepare layer "${digest}": not in image "${image.name}", expected one of its ${image.layers.length} layers`,
      );
    }
    return this.#options.preparer.prepare(image, layer, { signal, badIndex: 'stream' });
  }
}

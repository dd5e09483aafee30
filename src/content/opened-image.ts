/** What the openers of all kinds of source have in common: an image that is held together. */

import type { BlobSource } from '../common/blob-source.js';
import type { Digest } from '../common/digest.js';
import { type Logger, silentLogger } from '../common/log.js';
import type { Descriptor } from '../remote/descriptor.js';
import type { Manifest } from '../remote/manifest.js';
import { findZtocs } from './find-ztocs.js';
import { type Found, Search } from './found.js';
import type { ImageConfig } from './image-config.js';
import type { ImageHome } from './image-home.js';
import type { Image, ImageLayer, PublishedIndex, PublishedZtoc } from './image-model.js';

export interface OpenedImageParts {
  name: string;
  target?: Descriptor;
  descriptor?: Descriptor;
  manifest?: Manifest;
  config: ImageConfig;
  layers: ImageLayer[];
  home?: ImageHome;
  /** Of those published beside it; default: there are none. */
  indexes?: Search<PublishedIndex>;
  openLayer(layer: ImageLayer, signal: AbortSignal): Promise<BlobSource>;
  log?: Logger | undefined;
}

export class OpenedImage implements Image {
  readonly name: string;
  readonly target?: Descriptor;
  readonly descriptor?: Descriptor;
  readonly manifest?: Manifest;
  readonly config: ImageConfig;
  readonly layers: readonly ImageLayer[];
  readonly home?: ImageHome;
  readonly #parts: OpenedImageParts;
  readonly #ztocs = new Search((signal) => this.#findZtocs(signal));

  constructor(parts: OpenedImageParts) {
    this.name = parts.name;
    this.config = parts.config;
    this.layers = parts.layers;
    if (parts.target !== undefined) this.target = parts.target;
    if (parts.descriptor !== undefined) this.descriptor = parts.descriptor;
    if (parts.manifest !== undefined) this.manifest = parts.manifest;
    if (parts.home !== undefined) this.home = parts.home;
    this.#parts = parts;
  }

  openLayer(layer: ImageLayer, signal: AbortSignal): Promise<BlobSource> {
    return this.#parts.openLayer(layer, signal);
  }

  async fetchIndexes(signal: AbortSignal): Promise<Map<Digest, PublishedIndex>> {
    return (await this.#parts.indexes?.find(signal)) ?? new Map();
  }

  fetchZtocs(signal: AbortSignal): Promise<Map<Digest, PublishedZtoc>> {
    return this.#ztocs.find(signal);
  }

  async close(): Promise<void> {
    await this.#parts.home?.close();
  }

  async #findZtocs(signal: AbortSignal): Promise<Found<PublishedZtoc>> {
    const { home, descriptor, manifest, log = silentLogger } = this.#parts;
    if (home === undefined || descriptor === undefined || manifest === undefined) return nothing();
    return findZtocs(home, { descriptor, manifest }, { signal, log });
  }
}

function nothing<T>(): Found<T> {
  return { indexes: new Map(), complete: true };
}

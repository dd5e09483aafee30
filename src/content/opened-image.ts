/** What the openers of all kinds of source have in common: an image that is held together. */

import type { BlobSource } from '../common/blob-source.js';
import type { Digest } from '../common/digest.js';
import { type Logger, silentLogger } from '../common/log.js';
import type { Descriptor } from '../remote/descriptor.js';
import type { Manifest } from '../remote/manifest.js';
import { findIndexes } from './find-indexes.js';
import type { ImageConfig } from './image-config.js';
import type { ImageHome } from './image-home.js';
import type { Image, ImageLayer, PublishedIndex } from './image-model.js';

export interface OpenedImageParts {
  name: string;
  descriptor?: Descriptor;
  manifest?: Manifest;
  config: ImageConfig;
  layers: ImageLayer[];
  home?: ImageHome;
  openLayer(layer: ImageLayer, signal: AbortSignal): Promise<BlobSource>;
  log?: Logger | undefined;
}

export class OpenedImage implements Image {
  readonly name: string;
  readonly descriptor?: Descriptor;
  readonly manifest?: Manifest;
  readonly config: ImageConfig;
  readonly layers: readonly ImageLayer[];
  readonly home?: ImageHome;
  readonly #parts: OpenedImageParts;
  #indexes: Promise<Map<Digest, PublishedIndex>> | undefined;

  constructor(parts: OpenedImageParts) {
    this.name = parts.name;
    this.config = parts.config;
    this.layers = parts.layers;
    if (parts.descriptor !== undefined) this.descriptor = parts.descriptor;
    if (parts.manifest !== undefined) this.manifest = parts.manifest;
    if (parts.home !== undefined) this.home = parts.home;
    this.#parts = parts;
  }

  openLayer(layer: ImageLayer, signal: AbortSignal): Promise<BlobSource> {
    return this.#parts.openLayer(layer, signal);
  }

  fetchIndexes(signal: AbortSignal): Promise<Map<Digest, PublishedIndex>> {
    const { home, descriptor, log = silentLogger } = this.#parts;
    if (home === undefined || descriptor === undefined)
      return Promise.resolve(new Map<Digest, PublishedIndex>());
    const indexes = this.#indexes ?? findIndexes(home, descriptor, { signal, log });
    this.#indexes = indexes;
    // Only a cancelled search fails; the next caller may begin another.
    indexes.catch(() => {
      if (this.#indexes === indexes) this.#indexes = undefined;
    });
    return indexes;
  }

  async close(): Promise<void> {
    await this.#parts.home?.close();
  }
}

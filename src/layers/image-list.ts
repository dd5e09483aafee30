/** `siphon images`: what is recorded, and how much of it is here. */

import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Digest } from '../common/digest.js';
import { errorCode } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import { ContentStore } from '../content/content-store.js';
import type { Image } from '../content/image.js';
import { ImageDatabase, type ImageRecord } from '../content/image-database.js';
import { openRecorded, unpackedLabel } from '../content/recorded-image.js';
import { LayerIndex } from '../index/layer-index.js';
import { SpanCache } from '../index/span-cache.js';
import type { Descriptor } from '../remote/descriptor.js';
import { largeFilesSize } from './large-files.js';
import { LayerStore, indexExpectation } from './layer-store.js';

/** `whole`: every byte is here. `lazy`: what is not is drawn when it is read. `absent`: nothing is here. */
export type Presence = 'whole' | 'lazy' | 'absent';

/** `unpacked`: it could not be served when it was run, and each container has its files. */
export type ImagePresence = Presence | 'unpacked';

export interface ListedLayer {
  digest: Digest;
  /** Bytes of the blob in the registry. */
  size: number;
  /** Bytes here: blob, index and spans. */
  sizeOnDisk: number;
  /** Of the layer's contents, from 0 to 1. */
  fetched: number;
  presence: Presence;
}

export interface ListedImage {
  name: string;
  target: Digest;
  /** Of the manifest for the platform; absent where there is none. */
  manifest?: Digest;
  sizeInRegistry: number;
  sizeOnDisk: number;
  fetched: number;
  presence: ImagePresence;
  /** Bottom first. */
  layers: ListedLayer[];
  /** Milliseconds since 1970. */
  updated: number;
}

export interface ImageListOptions {
  root: string;
  platform?: string;
  signal: AbortSignal;
  log: Logger;
}

/** By name. Nothing is asked of a registry. */
export async function listImages(options: ImageListOptions): Promise<ListedImage[]> {
  const { root, log } = options;
  using images = ImageDatabase.open(root);
  using layers = LayerStore.open(root, process.pid, log);
  const store = await ContentStore.open(root);
  const listed: ListedImage[] = [];
  for (const record of images.list()) {
    listed.push(await describe(record, { ...options, images, store, layers }));
  }
  return listed;
}

interface Parts extends ImageListOptions {
  images: ImageDatabase;
  store: ContentStore;
  layers: LayerStore;
}

async function describe(record: ImageRecord, parts: Parts): Promise<ListedImage> {
  const image = await openHere(record, parts);
  const { name, target, updated } = record;
  const { descriptor, manifest } = image ?? {};
  const documents = [descriptor, manifest?.config].filter((one) => one !== undefined);
  const layers: ListedLayer[] = [];
  for (const layer of manifest?.layers ?? []) layers.push(await describeLayer(layer, parts));
  const documentSize = sum(documents.map(({ size }) => size));
  const layerSize = sum(layers.map(({ size }) => size));
  const fetched = sum(layers.map((layer) => layer.size * layer.fetched));
  return {
    name,
    target: target.digest,
    ...(descriptor === undefined ? {} : { manifest: descriptor.digest }),
    sizeInRegistry: documentSize + layerSize,
    sizeOnDisk: documentSize + sum(layers.map(({ sizeOnDisk }) => sizeOnDisk)),
    fetched: layerSize === 0 ? 1 : fetched / layerSize,
    presence: isUnpacked(descriptor, parts) ? 'unpacked' : overall(layers),
    layers,
    updated,
  };
}

function isUnpacked(manifest: Descriptor | undefined, { images }: Parts): boolean {
  return manifest !== undefined && unpackedLabel in images.labelsOf(manifest.digest);
}

/** As far as the documents are here and the image is for this platform. */
async function openHere(record: ImageRecord, parts: Parts): Promise<Image | undefined> {
  const { origin: _, ...local } = record;
  try {
    const image = await openRecorded(local, { ...parts, locate: parts.layers.originOf });
    await image.close();
    return image;
  } catch (error) {
    if (errorCode(error) === undefined) throw error;
    return undefined;
  }
}

async function describeLayer(
  { digest, size }: Descriptor,
  { store, layers }: Parts,
): Promise<ListedLayer> {
  const isWhole = await store.has(digest);
  const blobSize = isWhole ? size : 0;
  const record = layers.find(digest);
  const indexPath = record === undefined ? '' : layers.indexPath(record.number);
  if (record === undefined || !existsSync(indexPath)) {
    const presence = isWhole ? 'whole' : 'absent';
    return { digest, size, sizeOnDisk: blobSize, fetched: isWhole ? 1 : 0, presence };
  }
  using index = LayerIndex.open(indexPath, indexExpectation(record));
  const directory = layers.directory(record.number);
  const spans = presentBytes(directory, index.spanBounds);
  const tarSize = index.spanBounds.at(-1) ?? 0;
  const fetched = isWhole || tarSize === 0 ? 1 : spans / tarSize;
  return {
    digest,
    size,
    sizeOnDisk: blobSize + statSync(indexPath).size + spans + largeFilesSize(directory),
    fetched,
    presence: fetched === 1 ? 'whole' : 'lazy',
  };
}

function presentBytes(directory: string, bounds: Float64Array): number {
  if (!existsSync(join(directory, 'present'))) return 0;
  using cache = SpanCache.open(directory, bounds);
  return cache.presentBytes();
}

function overall(layers: readonly ListedLayer[]): Presence {
  const kinds = new Set(layers.map(({ presence }) => presence));
  if (kinds.size === 1) return [...kinds][0] ?? 'whole';
  return kinds.has('absent') ? 'absent' : kinds.has('lazy') ? 'lazy' : 'whole';
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0);
}

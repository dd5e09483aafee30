/**
 * `siphon index …`: the indexes of an image's layers, made from the layers' own bytes, looked at, compared
 * with the layers again, and published.
 */

import { stat } from 'node:fs/promises';
import type { Digest } from '../common/digest.js';
import { SiphonError } from '../common/errors.js';
import { UndoStack } from '../common/undo-stack.js';
import type { Image, ImageLayer } from '../content/image.js';
import { publishIndexes } from '../content/index-artifact.js';
import { LayerIndex, type LayerInfo } from '../index/layer-index.js';
import { verifyIndex } from '../index/verify-index.js';
import type { Descriptor } from '../remote/descriptor.js';
import { type BuildOptions, LayerPreparer } from './layer-preparer.js';
import type { LayerRecord } from './layer-store.js';
import { type ImageOptions, openImageAt } from './serve-image.js';
import { openStores } from './workplace.js';

export interface IndexedLayer {
  info: LayerInfo;
  path: string;
  /** Bytes of the index file. */
  size: number;
}

export interface IndexedImage {
  name: string;
  /** Bottom first. */
  layers: IndexedLayer[];
}

export interface PublishedImage extends IndexedImage {
  /** The artifact that was published. */
  artifact: Descriptor;
}

/** Builds what is not here yet. @throws SiphonError `unsupported` (a layer's format), … */
export function buildIndexes(options: ImageOptions): Promise<IndexedImage> {
  return withIndexes(options, fromLayers, ({ image }) => Promise.resolve(image));
}

/** Publishes what {@link buildIndexes} has made. @throws SiphonError `not-found`; `unsupported` for a source that cannot hold an artifact */
export function pushIndexes(options: ImageOptions): Promise<PublishedImage> {
  return withIndexes(options, here, publish);
}

/** Both, one after the other. */
export function buildAndPushIndexes(options: ImageOptions): Promise<PublishedImage> {
  return withIndexes(options, fromLayers, publish);
}

/** The indexes that a mount of the image would use, made or fetched as it would do it. */
export function inspectIndexes(options: ImageOptions): Promise<IndexedImage> {
  return withIndexes(options, asMounted, ({ image }) => Promise.resolve(image));
}

/**
 * Derives each of those indexes again from its layer.
 * @throws SiphonError `corrupt` that names the layer and the first row that differs
 */
export function verifyIndexes(options: ImageOptions): Promise<IndexedImage> {
  return withIndexes(options, asMounted, async ({ image, opened }) => {
    for (const [n, layer] of opened.layers.entries()) {
      const { path } = image.layers[n] ?? { path: '' };
      await verifyOne(opened, layer, { ...options, path });
    }
    return image;
  });
}

/** How a layer's index is had. */
type Way = (
  preparer: LayerPreparer,
  image: Image,
  layer: ImageLayer,
  options: BuildOptions,
) => Promise<LayerRecord>;

const fromLayers: Way = (preparer, image, layer, options) => preparer.build(image, layer, options);
const here: Way = (preparer, image, layer, options) => preparer.existing(image, layer, options);
const asMounted: Way = (preparer, image, layer, options) =>
  preparer.prepare(image, layer, { ...options, badIndex: 'fail' });

/** The image while it is open, and its indexes. */
interface Indexed {
  opened: Image;
  image: IndexedImage;
  signal: AbortSignal;
}

async function withIndexes<T>(
  options: ImageOptions,
  way: Way,
  use: (indexed: Indexed) => Promise<T>,
): Promise<T> {
  await using undo = new UndoStack();
  const { signal, log, onEvent } = options;
  const stores = await openStores({ root: options.root, undo, log });
  const { content, layers } = stores;
  const used = await openImageAt(stores, { ...options, prepares: false }, undo);
  const opened = used.image;
  const preparer = new LayerPreparer({ layers, content, keep: true, log });
  const how = { signal, ...(onEvent === undefined ? {} : { onEvent }) };
  const indexed = await Promise.all(
    opened.layers.map(async (layer) => {
      const record = await way(preparer, opened, layer, how);
      return describeIndex(layers.indexPath(record.number));
    }),
  );
  await used.record();
  return await use({ opened, image: { name: opened.name, layers: indexed }, signal });
}

async function publish({ opened, image, signal }: Indexed): Promise<PublishedImage> {
  const paths = new Map<Digest, string>(
    opened.layers.map(({ descriptor }, n) => [descriptor.digest, image.layers[n]?.path ?? '']),
  );
  return { ...image, artifact: await publishIndexes(opened, paths, signal) };
}

async function verifyOne(
  image: Image,
  layer: ImageLayer,
  { path, signal, onEvent }: ImageOptions & { path: string },
): Promise<void> {
  const { digest, size: total } = layer.descriptor;
  const source = await image.openLayer(layer, signal);
  const counted = async function* (): AsyncGenerator<Uint8Array> {
    let done = 0;
    for await (const chunk of source.stream(signal)) {
      done += chunk.byteLength;
      onEvent?.({ digest, status: 'verifying', done, total });
      yield chunk;
    }
  };
  try {
    await verifyIndex(path, counted(), { identity: layer.identity, signal });
    onEvent?.({ digest, status: 'ready', done: total, total });
  } catch (error) {
    if (!(error instanceof SiphonError) || error.code === 'cancelled') throw error;
    throw new SiphonError(
      error.code,
      `Cannot verify layer "${digest}" of "${image.name}": ${error.message}`,
      { cause: error },
    );
  } finally {
    await source.close();
  }
}

async function describeIndex(path: string): Promise<IndexedLayer> {
  using index = LayerIndex.open(path);
  return { info: index.info, path, size: (await stat(path)).size };
}

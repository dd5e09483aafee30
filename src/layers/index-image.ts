/** `siphon index build`: the index of every layer of an image, made from the layers' own bytes. */

import { stat } from 'node:fs/promises';
import type { Digest } from '../common/digest.js';
import type { Logger } from '../common/log.js';
import { UndoStack } from '../common/undo-stack.js';
import { ContentStore } from '../content/content-store.js';
import { openImage } from '../content/image.js';
import { publishIndexes } from '../content/index-artifact.js';
import type { Source } from '../content/source.js';
import { LayerIndex, type LayerInfo } from '../index/layer-index.js';
import type { Descriptor } from '../remote/descriptor.js';
import type { LayerListener } from './layer-event.js';
import { LayerPreparer } from './layer-preparer.js';
import { LayerStore } from './layer-store.js';

export interface IndexImageOptions {
  root: string;
  source: Source;
  platform?: string;
  plainHttp?: boolean;
  /** Whether to publish what was built beside the image. */
  push: boolean;
  signal: AbortSignal;
  onEvent?: LayerListener;
  log: Logger;
}

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
  /** The artifact that was published. */
  artifact?: Descriptor;
}

/** @throws SiphonError `unsupported` (a layer's format; a source that cannot hold an artifact), … */
export async function indexImage(options: IndexImageOptions): Promise<IndexedImage> {
  const undo = new UndoStack();
  try {
    return await build(options, undo);
  } finally {
    await undo[Symbol.asyncDispose]();
  }
}

async function build(options: IndexImageOptions, undo: UndoStack): Promise<IndexedImage> {
  const { root, signal, log, onEvent } = options;
  const content = await ContentStore.open(root);
  const layers = LayerStore.open(root);
  undo.defer(() => layers[Symbol.dispose]());
  const image = await openImage(options.source, {
    store: content,
    signal,
    log,
    ...(options.platform === undefined ? {} : { platform: options.platform }),
    ...(options.plainHttp === undefined ? {} : { plainHttp: options.plainHttp }),
  });
  undo.defer(() => image.close());
  const preparer = new LayerPreparer({ layers, content, log });
  const paths = await Promise.all(
    image.layers.map(async (layer) => {
      const events = onEvent === undefined ? {} : { onEvent };
      const record = await preparer.build(image, layer, { signal, ...events });
      return layers.indexPath(record.number);
    }),
  );
  const indexed = await Promise.all(paths.map(describeIndex));
  const result = { name: image.name, layers: indexed };
  if (!options.push) return result;
  const byLayer = new Map<Digest, string>(
    image.layers.map((layer, n) => [layer.descriptor.digest, paths[n] ?? '']),
  );
  return { ...result, artifact: await publishIndexes(image, byLayer, signal) };
}

async function describeIndex(path: string): Promise<IndexedLayer> {
  using index = LayerIndex.open(path);
  return { info: index.info, path, size: (await stat(path)).size };
}

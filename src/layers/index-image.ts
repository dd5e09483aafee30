/** `siphon index build`: the index of every layer of an image, made from the layers' own bytes. */

import { stat } from 'node:fs/promises';
import type { Digest } from '../common/digest.js';
import { UndoStack } from '../common/undo-stack.js';
import { publishIndexes } from '../content/index-artifact.js';
import { LayerIndex, type LayerInfo } from '../index/layer-index.js';
import type { Descriptor } from '../remote/descriptor.js';
import { LayerPreparer } from './layer-preparer.js';
import { type ImageOptions, openImageAt } from './serve-image.js';
import { openWorkplace } from './workplace.js';

export interface IndexImageOptions extends ImageOptions {
  /** Whether to publish what was built beside the image. */
  push: boolean;
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
  const { signal, log, onEvent } = options;
  const workplace = await openWorkplace({ root: options.root, undo, log });
  const { content, layers } = workplace;
  const image = await openImageAt(workplace, options, undo);
  const preparer = new LayerPreparer({ layers, content, keep: true, log });
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

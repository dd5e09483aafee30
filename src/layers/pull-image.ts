/** `siphon pull`: every layer of an image made ready in a root, so that a later mount or run finds it so. */

import type { Digest } from '../common/digest.js';
import { UndoStack } from '../common/undo-stack.js';
import { ContentStore } from '../content/content-store.js';
import { LayerStore } from './layer-store.js';
import { type ImageOptions, openImageAt, prepareLayers } from './serve-image.js';

export interface PulledImage {
  name: string;
  /** Of the manifest, where the source has one. */
  digest?: Digest;
  /** Bottom first. */
  layers: { digest: Digest; size: number }[];
}

/** @throws SiphonError for whatever keeps a layer from being served */
export async function pullImage(options: ImageOptions): Promise<PulledImage> {
  const { root, log } = options;
  const undo = new UndoStack();
  try {
    const content = await ContentStore.open(root);
    const layers = LayerStore.open(root, process.pid, log);
    undo.defer(() => layers[Symbol.dispose]());
    const how = { ...options, askAnew: true, prepares: true };
    const used = await openImageAt({ content, layers }, how, undo);
    await prepareLayers({ content, layers }, used, options);
    const { name, descriptor, layers: parts } = used.image;
    return {
      name,
      ...(descriptor === undefined ? {} : { digest: descriptor.digest }),
      layers: parts.map(({ descriptor: { digest, size } }) => ({ digest, size })),
    };
  } finally {
    await undo[Symbol.asyncDispose]();
  }
}

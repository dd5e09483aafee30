/** An image opened for a command: its layers prepared all at once, in the root that is shared by all. */

import { setMaxListeners } from 'node:events';
import type { Logger } from '../common/log.js';
import type { UndoStack } from '../common/undo-stack.js';
import { type Image, openImage } from '../content/image.js';
import type { Source } from '../content/source.js';
import type { RegistryAccess } from '../remote/registry.js';
import type { Keeper } from './keeper.js';
import type { LayerListener } from './layer-event.js';
import { LayerPreparer } from './layer-preparer.js';
import type { LayerRecord } from './layer-store.js';
import type { Workplace } from './workplace.js';

export interface ImageOptions {
  /** siphon's root; content and layers are shared with every other process there. */
  root: string;
  source: Source;
  platform?: string;
  plainHttp?: boolean;
  access?: RegistryAccess;
  signal: AbortSignal;
  onEvent?: LayerListener;
  /** Holds the mount of the kernel driver, where there is one. */
  keeper?: Keeper;
  log: Logger;
}

/** Manifest and config are read; layers are not touched. `undo` closes the image. */
export async function openImageAt(
  { content }: Workplace,
  options: ImageOptions,
  undo: UndoStack,
): Promise<Image> {
  const { source, signal, log, platform, plainHttp, access } = options;
  const image = await openImage(source, {
    store: content,
    signal,
    log,
    ...(platform === undefined ? {} : { platform }),
    ...(plainHttp === undefined ? {} : { plainHttp }),
    access,
  });
  undo.defer(() => image.close());
  return image;
}

/** Brings every layer's index here. @returns the layers' records, topmost first */
export async function prepareLayers(
  { content, layers }: Workplace,
  image: Image,
  options: ImageOptions,
): Promise<LayerRecord[]> {
  const { onEvent, log } = options;
  for (const { descriptor } of image.layers) {
    onEvent?.({ digest: descriptor.digest, status: 'waiting', done: 0, total: descriptor.size });
  }
  const preparer = new LayerPreparer({ layers, content, keep: true, log });
  const failed = new AbortController();
  const signal = AbortSignal.any([options.signal, failed.signal]);
  setMaxListeners(0, signal); // every layer listens
  const how = { signal, badIndex: 'fail', ...(onEvent === undefined ? {} : { onEvent }) } as const;
  const work = image.layers.map((layer) => preparer.prepare(image, layer, how));
  for (const one of work) one.catch((error: unknown) => failed.abort(error));
  const outcomes = await Promise.allSettled(work);
  return outcomes
    .map((outcome) => {
      if (outcome.status === 'rejected') throw failed.signal.reason;
      return outcome.value;
    })
    .toReversed();
}

/** An image opened for a command: its layers prepared all at once, in the root that is shared by all. */

import { setMaxListeners } from 'node:events';
import type { Logger } from '../common/log.js';
import type { UndoStack } from '../common/undo-stack.js';
import { type UsedImage, useImage } from '../content/recorded-image.js';
import type { Source } from '../content/source.js';
import type { RegistryAccess } from '../remote/registry.js';
import type { LayerListener } from './layer-event.js';
import { LayerPreparer } from './layer-preparer.js';
import type { LayerRecord } from './layer-store.js';
import type { Stores } from './workplace.js';

export interface ImageOptions {
  /** siphon's root; content and layers are shared with every other process there. */
  root: string;
  source: Source;
  platform?: string;
  plainHttp?: boolean;
  access?: RegistryAccess;
  /** When layers begin to be brought here as a whole, in ms after they are served; default: never. */
  fillAfter?: number;
  /** The image's source is asked also where the name was given here. */
  askAnew?: boolean;
  signal: AbortSignal;
  onEvent?: LayerListener;
  log: Logger;
}

/**
 * Manifest and config are read; layers are not touched. `undo` closes the image.
 * @param options.prepares whether {@link prepareLayers} follows: what it will ask for is looked for at once
 */
export async function openImageAt(
  { content, layers }: Stores,
  options: ImageOptions & { prepares: boolean },
  undo: UndoStack,
): Promise<UsedImage> {
  const { root, source, signal, log, platform, plainHttp, access, askAnew = false } = options;
  const used = await useImage(source, {
    root,
    store: content,
    locate: layers.originOf,
    askAnew,
    signal,
    log,
    ...(options.prepares ? { hasIndex: layers.hasIndex } : {}),
    ...(platform === undefined ? {} : { platform }),
    ...(plainHttp === undefined ? {} : { plainHttp }),
    access,
  });
  undo.defer(() => used.close());
  return used;
}

/** Brings every layer's index here, and records the image. @returns the layers' records, topmost first */
export async function prepareLayers(
  { content, layers }: Stores,
  used: UsedImage,
  options: ImageOptions,
): Promise<LayerRecord[]> {
  const { image } = used;
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
  const records = outcomes.map((outcome) => {
    if (outcome.status === 'rejected') throw failed.signal.reason;
    return outcome.value;
  });
  await used.record();
  return records.toReversed();
}

/** `siphon pull`: every layer of an image made ready in a root, so that a later mount or run finds it so. */

import type { Digest } from '../common/digest.js';
import type { Logger } from '../common/log.js';
import { UndoStack } from '../common/undo-stack.js';
import { ContentStore } from '../content/content-store.js';
import { type Image, openImage } from '../content/image.js';
import type { Source } from '../content/source.js';
import type { RegistryAccess } from '../remote/registry.js';
import type { LayerListener } from './layer-event.js';
import { LayerPreparer } from './layer-preparer.js';
import { LayerStore } from './layer-store.js';

export interface PullOptions {
  root: string;
  source: Source;
  platform?: string;
  plainHttp?: boolean;
  access?: RegistryAccess;
  signal: AbortSignal;
  onEvent?: LayerListener;
  log: Logger;
}

export interface PulledImage {
  name: string;
  /** Of the manifest, where the source has one. */
  digest?: Digest;
  /** Bottom first. */
  layers: { digest: Digest; size: number }[];
}

/** @throws SiphonError for whatever keeps a layer from being served */
export async function pullImage(options: PullOptions): Promise<PulledImage> {
  const { root, signal, log } = options;
  const undo = new UndoStack();
  try {
    const content = await ContentStore.open(root);
    const layers = LayerStore.open(root, process.pid, log);
    undo.defer(() => layers[Symbol.dispose]());
    const image = await openImage(options.source, {
      store: content,
      signal,
      log,
      ...(options.platform === undefined ? {} : { platform: options.platform }),
      ...(options.plainHttp === undefined ? {} : { plainHttp: options.plainHttp }),
      access: options.access,
    });
    undo.defer(() => image.close());
    await prepareAll(image, new LayerPreparer({ layers, content, keep: true, log }), options);
    return {
      name: image.name,
      ...(image.descriptor === undefined ? {} : { digest: image.descriptor.digest }),
      layers: image.layers.map(({ descriptor: { digest, size } }) => ({ digest, size })),
    };
  } finally {
    await undo[Symbol.asyncDispose]();
  }
}

/** All at once; the first failure ends the others. */
async function prepareAll(
  image: Image,
  preparer: LayerPreparer,
  { signal, onEvent }: PullOptions,
): Promise<void> {
  const failed = new AbortController();
  const either = AbortSignal.any([signal, failed.signal]);
  const events = onEvent === undefined ? {} : { onEvent };
  const work = image.layers.map((layer) =>
    preparer
      .prepare(image, layer, { signal: either, badIndex: 'fail', ...events })
      .catch((error: unknown) => {
        failed.abort(error);
        throw error;
      }),
  );
  await Promise.allSettled(work);
  if (failed.signal.aborted) throw failed.signal.reason;
}

/**
 * One image served by this process: opened, its layers prepared all at once, each shown below one FUSE
 * mount of the session's own. What `siphon mount` and `siphon run` stand on.
 */

import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from '../common/log.js';
import { UndoStack } from '../common/undo-stack.js';
import { ContentStore } from '../content/content-store.js';
import { type Image, openImage } from '../content/image.js';
import type { Source } from '../content/source.js';
import type { LayerListener } from './layer-event.js';
import { LayerPreparer } from './layer-preparer.js';
import { LayerServer } from './layer-server.js';
import { makeImpliedDirectories } from './implied-directories.js';
import { LayerStore } from './layer-store.js';

export interface ImageSessionOptions {
  /** siphon's root; content and layers are shared with every other session there. */
  root: string;
  /** Folder of this session's own, made and removed by it. */
  directory: string;
  source: Source;
  platform?: string;
  plainHttp?: boolean;
  signal: AbortSignal;
  onEvent?: LayerListener;
  log: Logger;
}

export interface ImageSession extends AsyncDisposable {
  readonly image: Image;
  /** The folders to be merged, topmost first, as paths below `base`. */
  readonly stack: { base: string; lowerdirs: string[] };
  fetchedBytes(): number;
  /** Unmounts and closes; the overlay on top must be gone. */
  close(): Promise<void>;
}

/** @throws SiphonError for whatever keeps the image from being served; nothing is left mounted then */
export async function openImageSession(options: ImageSessionOptions): Promise<ImageSession> {
  const undo = new UndoStack();
  try {
    return await open(options, undo);
  } catch (error) {
    await undo[Symbol.asyncDispose]();
    throw error;
  }
}

async function open(options: ImageSessionOptions, undo: UndoStack): Promise<ImageSession> {
  const { root, directory, log, signal } = options;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  undo.defer(() => rm(directory, { recursive: true, force: true }));
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
  const mountPoint = join(directory, 'fuse');
  const server = await LayerServer.start({ mountPoint, layers, content, log });
  undo.defer(() => server[Symbol.asyncDispose]());
  const preparer = new LayerPreparer({ layers, content, log });
  const numbers = (await serveLayers(image, preparer, server, options)).reverse();
  const lowerdirs = numbers.map((number) => `fuse/${number}`);
  const indexes = numbers.map((number) => layers.indexPath(number));
  if (await makeImpliedDirectories(indexes, join(directory, 'implied'))) {
    lowerdirs.unshift('implied');
  }
  return {
    image,
    stack: { base: directory, lowerdirs },
    fetchedBytes: () => server.fetchedBytes(),
    close: () => undo[Symbol.asyncDispose](),
    [Symbol.asyncDispose]: () => undo[Symbol.asyncDispose](),
  };
}

/** Numbers of the layers, bottom first. */
async function serveLayers(
  image: Image,
  preparer: LayerPreparer,
  server: LayerServer,
  options: ImageSessionOptions,
): Promise<number[]> {
  const { onEvent } = options;
  for (const { descriptor } of image.layers) {
    onEvent?.({ digest: descriptor.digest, status: 'waiting', done: 0, total: descriptor.size });
  }
  const failed = new AbortController();
  const signal = AbortSignal.any([options.signal, failed.signal]);
  const prepare = {
    signal,
    badIndex: 'fail',
    ...(onEvent === undefined ? {} : { onEvent }),
  } as const;
  const work = image.layers.map(async (layer) => {
    const record = await preparer.prepare(image, layer, prepare);
    server.serve(record);
    return record.number;
  });
  for (const one of work) one.catch((error: unknown) => failed.abort(error));
  const outcomes = await Promise.allSettled(work);
  return outcomes.map((outcome) => {
    if (outcome.status === 'rejected') throw failed.signal.reason;
    return outcome.value;
  });
}

/** `siphon unpack`: all layers of an image applied to one folder, as `umoci unpack` does it. */

import { chmod, chown, mkdir, readdir, rm, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import pLimit from 'p-limit';
import { SiphonError, systemCode } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import { ContentStore } from '../content/content-store.js';
import type { Image, ImageLayer } from '../content/image.js';
import { useImage } from '../content/recorded-image.js';
import type { Source } from '../content/source.js';
import type { ExpectedLayer } from '../index/layer-index.js';
import { type UnpackedLayer, unpackLayer } from '../unpack/unpack-layer.js';
import type { RegistryAccess } from '../remote/registry.js';
import type { LayerListener } from './layer-event.js';

export interface UnpackImageOptions {
  root: string;
  source: Source;
  /** A folder that is empty or not there; its parent is. */
  target: string;
  platform?: string;
  plainHttp?: boolean;
  access?: RegistryAccess;
  signal: AbortSignal;
  onEvent?: LayerListener;
  /**
   * Why the image is not served lazily: it is recorded then, and its blobs are kept, so that they are not
   * fetched again for the next folder.
   */
  insteadOfServing?: string;
  log: Logger;
}

export interface UnpackedImage {
  /** Closed. */
  image: Image;
  target: string;
  /** Bottom first. */
  layers: Pick<UnpackedLayer, 'blobDigest' | 'diffId' | 'entries' | 'contentSize'>[];
}

/** Layers that are fetched at once. */
const CONCURRENT_DOWNLOADS = 4;

/** Of a root that no layer describes; its time is the epoch. */
const ROOT_MODE = 0o755;

/**
 * Leaves the folder as it was where it fails.
 * @throws SiphonError `failed-precondition` (the folder is not empty); as openImage and unpackLayer
 */
export async function unpackImage(options: UnpackImageOptions): Promise<UnpackedImage> {
  const { source, signal, log, platform, plainHttp, access, target } = options;
  const store = await ContentStore.open(options.root);
  const used = await useImage(source, {
    root: options.root,
    store,
    signal,
    log,
    ...(platform === undefined ? {} : { platform }),
    ...(plainHttp === undefined ? {} : { plainHttp }),
    access,
  });
  const { image } = used;
  try {
    const undo = await makeRoot(target);
    try {
      const { insteadOfServing } = options;
      if (insteadOfServing !== undefined) await keepBlobs(image, store, options);
      const layers = await unpackAll(image, options);
      if (insteadOfServing !== undefined) await used.record(insteadOfServing);
      return { image, target, layers };
    } catch (error) {
      await undo();
      throw error;
    }
  } finally {
    await used.close();
  }
}

/** Layers without a digest stay where they are. */
async function keepBlobs(
  image: Image,
  store: ContentStore,
  { signal, onEvent }: UnpackImageOptions,
): Promise<void> {
  const limit = pLimit(CONCURRENT_DOWNLOADS);
  const keep = async (layer: ImageLayer): Promise<void> => {
    const { digest } = layer.descriptor;
    const blob = await image.openLayer(layer, signal);
    try {
      await store.ingest(layer.descriptor, (from) => blob.stream(signal, from), {
        signal,
        onProgress: (done, total) => onEvent?.({ digest, status: 'streaming', done, total }),
      });
    } finally {
      await blob.close();
    }
  };
  const kept = image.layers.filter(({ identity }) => identity === 'content');
  const outcomes = await Promise.allSettled(kept.map((layer) => limit(keep, layer)));
  const failure = outcomes.find((outcome) => outcome.status === 'rejected');
  if (failure !== undefined) throw failure.reason;
}

/** @returns what takes it back */
async function makeRoot(target: string): Promise<() => Promise<void>> {
  const isNew = await makeFolder(target);
  await chown(target, 0, 0);
  // Not by mkdir, which takes the umask into account.
  await chmod(target, ROOT_MODE);
  await utimes(target, 0, 0);
  return async () => {
    const made = isNew ? [target] : (await readdir(target)).map((name) => join(target, name));
    for (const path of made) await rm(path, { recursive: true, force: true });
  };
}

/** @returns whether it was not there */
async function makeFolder(target: string): Promise<boolean> {
  try {
    await mkdir(target);
    return true;
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
  }
  if ((await readdir(target)).length === 0) return false;
  throw new SiphonError(
    'failed-precondition',
    `Cannot unpack into "${target}": it holds files, expected a folder that is empty or not there`,
  );
}

/** One after another: each layer changes what the ones below left. */
async function unpackAll(
  image: Image,
  options: UnpackImageOptions,
): Promise<UnpackedImage['layers']> {
  const layers: UnpackedImage['layers'] = [];
  for (const { descriptor } of image.layers) {
    const { digest, size: total } = descriptor;
    options.onEvent?.({ digest, status: 'waiting', done: 0, total });
  }
  for (const layer of image.layers) {
    const unpacked = await unpackOne(image, layer, options).catch((error: unknown) => {
      throw namingLayer(error, image, layer);
    });
    const { blobDigest, diffId, entries, contentSize, ignoredXattrs } = unpacked;
    if (ignoredXattrs > 0)
      options.log.warn({ layer: blobDigest, count: ignoredXattrs }, 'xattrs ignored');
    layers.push({ blobDigest, diffId, entries, contentSize });
  }
  return layers;
}

async function unpackOne(
  image: Image,
  layer: ImageLayer,
  { target, signal, onEvent }: UnpackImageOptions,
): Promise<UnpackedLayer> {
  const { digest, size: total } = layer.descriptor;
  const blob = await image.openLayer(layer, signal);
  const counted = async function* (): AsyncGenerator<Uint8Array> {
    let done = 0;
    for await (const chunk of blob.stream(signal)) {
      done += chunk.byteLength;
      onEvent?.({ digest, status: 'streaming', done, total });
      yield chunk;
    }
  };
  try {
    const expected = expectationOf(layer);
    const unpacked = await unpackLayer({
      source: counted(),
      target,
      form: 'merged',
      expected,
      signal,
    });
    onEvent?.({ digest, status: 'ready', done: total, total });
    return unpacked;
  } finally {
    await blob.close();
  }
}

function expectationOf({ descriptor, identity, diffId }: ImageLayer): ExpectedLayer {
  const { digest, size } = descriptor;
  return {
    blobSize: size,
    ...(identity === 'content' ? { blobDigest: digest } : {}),
    ...(diffId === undefined ? {} : { diffId }),
  };
}

/** The same failure, with the layer and its image in its sentence. */
function namingLayer(error: unknown, image: Image, { descriptor }: ImageLayer): unknown {
  if (!(error instanceof SiphonError) || error.code === 'cancelled') return error;
  if (error.message.includes(descriptor.digest)) return error;
  return new SiphonError(
    error.code,
    `Cannot use layer "${descriptor.digest}" of "${image.name}": ${error.message}`,
    { cause: error, ...(error.hint === undefined ? {} : { hint: error.hint }) },
  );
}

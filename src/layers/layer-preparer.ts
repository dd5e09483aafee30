/**
 * Gets a layer's index onto this disk, the cheapest way there is: it is here already; it was published
 * beside the image; it is made of a table of contents that others made; or the blob is streamed once,
 * checked, indexed on the way and kept compressed, so that reads are served from this disk afterwards (a
 * file in the local file system is not kept twice).
 *
 * Two requests for one layer share the work; the work ends when the last of them gives up, and a failed
 * attempt leaves nothing that the next one could trip over.
 */

import { rename, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import pLimit from 'p-limit';
import type { BlobSource } from '../common/blob-source.js';
import { Channel } from '../common/channel.js';
import { temporaryName } from '../common/atomic-file.js';
import type { Digest } from '../common/digest.js';
import { isDiskFull } from '../common/disk-full.js';
import { SiphonError, errorCode, errorMessage } from '../common/errors.js';
import { fileExists } from '../common/file-exists.js';
import type { Logger } from '../common/log.js';
import { SharedWork } from '../common/shared-work.js';
import type { ContentStore } from '../content/content-store.js';
import type { Image, ImageLayer } from '../content/image.js';
import { buildIndex } from '../index/build-index.js';
import { LayerIndex } from '../index/layer-index.js';
import type { LayerListener } from './layer-event.js';
import { makeForeignIndex } from './foreign-index.js';
import { type LayerRecord, type LayerStore, indexExpectation } from './layer-store.js';
import { writeCompressedIndex } from './published-index.js';

export interface BuildOptions {
  signal: AbortSignal;
  onEvent?: LayerListener;
}

export interface PrepareOptions extends BuildOptions {
  /** What a published index that does not fit its layer leads to: the caller's failure, or streaming. */
  badIndex: 'fail' | 'stream';
}

/** Layers under way at once: enough to fill a link, and never fewer than there are processors. */
const concurrentDownloads = 4;

export class LayerPreparer {
  readonly #layers: LayerStore;
  readonly #content: ContentStore;
  readonly #kept: boolean;
  readonly #log: Logger;
  readonly #work = new SharedWork<Digest, LayerRecord>();
  readonly #limit = pLimit(Math.max(concurrentDownloads, availableParallelism()));

  /** @param options.keep whether layers stay when nobody uses them any more */
  constructor(options: { layers: LayerStore; content: ContentStore; keep: boolean; log: Logger }) {
    this.#layers = options.layers;
    this.#kept = options.keep;
    this.#content = options.content;
    this.#log = options.log;
  }

  /**
   * The record of a layer whose index is on this disk.
   * @throws SiphonError `unsupported` (no format of ours), `corrupt`, `unavailable`, `cancelled`, …
   */
  async prepare(image: Image, layer: ImageLayer, options: PrepareOptions): Promise<LayerRecord> {
    const record = await this.#work.run(layer.descriptor.digest, options.signal, (signal) =>
      this.#limit(() => this.#prepare(image, layer, { ...options, signal })),
    );
    this.#checkDiffId(layer, record);
    return record;
  }

  /**
   * The record of a layer whose index was built here from the layer's own bytes, now or earlier;
   * published ones are not asked for, and the blob is not kept. Errors as {@link prepare}.
   */
  build(image: Image, layer: ImageLayer, options: BuildOptions): Promise<LayerRecord> {
    return this.#limit(async () => {
      const task = this.#begin(image, layer, { ...options, badIndex: 'fail' });
      if (!(await this.#usable(task))) {
        await indexOnly(task).catch((error: unknown) => {
          throw namingLayer(error, task);
        });
      }
      this.#checkDiffId(layer, task.record);
      return finish(task);
    });
  }

  /** The record of a layer whose index is here. @throws SiphonError `not-found` where none is */
  async existing(image: Image, layer: ImageLayer, options: BuildOptions): Promise<LayerRecord> {
    const task = this.#begin(image, layer, { ...options, badIndex: 'fail' });
    if (await this.#usable(task)) {
      this.#checkDiffId(layer, task.record);
      return finish(task);
    }
    throw new SiphonError(
      'not-found',
      `Cannot find index of layer "${layer.descriptor.digest}" of "${image.name}": there is none here, expected one in "${task.output}"`,
      { hint: 'siphon index build makes it.' },
    );
  }

  /**
   * A layer is shared by all images that name its blob; what the config of each says of the tar is its own
   * word, and decides under which chain id containerd takes the layer for that of other images.
   * @throws SiphonError `corrupt`
   */
  #checkDiffId({ diffId }: ImageLayer, record: LayerRecord): void {
    if (diffId === undefined) return;
    const path = this.#layers.indexPath(record.number);
    LayerIndex.open(path, indexExpectation(record, diffId)).close();
  }

  async #prepare(image: Image, layer: ImageLayer, options: PrepareOptions): Promise<LayerRecord> {
    const task = this.#begin(image, layer, options);
    try {
      if (!(await this.#usable(task)) && !(await this.#takePublished(task))) {
        await this.#makeIndex(task);
      }
    } catch (error) {
      throw namingLayer(error, task);
    }
    return finish(task);
  }

  #begin(image: Image, layer: ImageLayer, options: PrepareOptions): Task {
    const { digest, size, mediaType } = layer.descriptor;
    const { identity, origin } = layer;
    const record = this.#layers.register(
      { blobDigest: digest, identity, blobSize: size, mediaType, origin },
      this.#kept,
    );
    return { image, layer, record, output: this.#layers.indexPath(record.number), options };
  }

  async #usable({ record, output }: Task): Promise<boolean> {
    if (!(await fileExists(output))) return false;
    try {
      LayerIndex.open(output, indexExpectation(record)).close();
      return true;
    } catch (error) {
      this.#log.warn({ layer: record.blobDigest, reason: errorMessage(error) }, 'index dropped');
      await rm(output, { force: true });
      return false;
    }
  }

  async #takePublished({ image, layer, record, output, options }: Task): Promise<boolean> {
    const { digest, size } = layer.descriptor;
    const published = (await image.fetchIndexes(options.signal)).get(digest);
    if (published === undefined) return false;
    options.onEvent?.({ digest, status: 'index', done: 0, total: size });
    const temporary = temporaryName(output);
    try {
      await writeCompressedIndex(await published(options.signal), temporary);
      LayerIndex.open(temporary, indexExpectation(record, layer.diffId)).close();
      await rename(temporary, output);
      return true;
    } catch (error) {
      const isItsFault = errorCode(error) !== 'cancelled' && !isDiskFull(error);
      if (options.badIndex === 'fail' || !isItsFault) throw error;
      this.#log.warn({ layer: digest, reason: errorMessage(error) }, 'published index refused');
      return false;
    } finally {
      await rm(temporary, { force: true });
    }
  }

  /** From what others say of the layer, or from its own bytes. */
  async #makeIndex(task: Task): Promise<void> {
    const { image, layer, output, options } = task;
    const { digest, size: total } = layer.descriptor;
    const foreign = await makeForeignIndex(image, layer, {
      output,
      signal: options.signal,
      onFound: () => options.onEvent?.({ digest, status: 'index', done: 0, total }),
      log: this.#log,
    });
    if (foreign.kind === 'none') await this.#stream({ ...task, because: foreign.because });
  }

  async #stream(task: Task): Promise<void> {
    const source = await task.image.openLayer(task.layer, task.options.signal);
    try {
      if (source.local) await index(counted(source, task), task, task.options.signal);
      else await this.#keepAndIndex(source, task);
    } finally {
      await source.close();
    }
  }

  /** One pass: each piece is written to the content store, then handed to the indexer. */
  async #keepAndIndex(source: BlobSource, task: Task): Promise<void> {
    const channel = new Channel<Uint8Array>();
    const failed = new AbortController();
    const signal = AbortSignal.any([task.options.signal, failed.signal]);
    const fail = (error: unknown): never => {
      channel.end(error instanceof Error ? error : new Error(errorMessage(error)));
      failed.abort(error);
      throw error;
    };
    const bytes = passOn(counted(source, task), channel);
    const kept = this.#keep(bytes, task.layer, signal).then(() => channel.end(), fail);
    const indexed = index(channel, task, signal).catch(fail);
    const outcomes = await Promise.allSettled([kept, indexed]);
    if (outcomes.every((outcome) => outcome.status === 'fulfilled')) return;
    await rm(task.output, { force: true });
    throw failed.signal.reason;
  }

  async #keep(
    bytes: AsyncIterable<Uint8Array>,
    layer: ImageLayer,
    signal: AbortSignal,
  ): Promise<void> {
    if (layer.identity === 'location') await this.#content.add(bytes, signal);
    else await this.#content.ingest(layer.descriptor, bytes, { signal });
  }
}

/** One layer's way to its index. */
interface Task {
  image: Image;
  layer: ImageLayer;
  record: LayerRecord;
  output: string;
  options: PrepareOptions;
  /** Why what others say of the layer was not used. */
  because?: string | undefined;
}

function finish({ layer, record, options }: Task): LayerRecord {
  const { digest, size } = layer.descriptor;
  options.onEvent?.({ digest, status: 'ready', done: size, total: size });
  return record;
}

/** The same failure, with the layer and its image in its sentence where they are missing. */
function namingLayer(error: unknown, { image, layer }: Task): unknown {
  const { digest } = layer.descriptor;
  if (!(error instanceof SiphonError) || error.code === 'cancelled') return error;
  if (error.message.includes(digest)) return error;
  const name = layer.identity === 'content' ? `layer "${digest}" of "${image.name}"` : image.name;
  const options = { cause: error, ...(error.hint === undefined ? {} : { hint: error.hint }) };
  return new SiphonError(error.code, `Cannot use ${name}: ${error.message}`, options);
}

async function indexOnly(task: Task): Promise<void> {
  const source = await task.image.openLayer(task.layer, task.options.signal);
  try {
    await index(counted(source, task), task, task.options.signal);
  } finally {
    await source.close();
  }
}

async function index(
  input: AsyncIterable<Uint8Array>,
  task: Task,
  signal: AbortSignal,
): Promise<void> {
  const { output, record, layer, because } = task;
  const expected = indexExpectation(record, layer.diffId);
  await buildIndex(input, { output, expected, because, signal });
}

async function* counted(source: BlobSource, { layer, options }: Task): AsyncGenerator<Uint8Array> {
  const { digest, size: total } = layer.descriptor;
  let done = 0;
  options.onEvent?.({ digest, status: 'streaming', done, total });
  for await (const chunk of source.stream(options.signal)) {
    done += chunk.byteLength;
    options.onEvent?.({ digest, status: 'streaming', done, total });
    yield chunk;
  }
}

/** Yields each piece to the one that stores it; once that is done with it, the channel gets it. */
async function* passOn(
  bytes: AsyncIterable<Uint8Array>,
  channel: Channel<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of bytes) {
    yield chunk;
    await channel.send(chunk);
  }
}

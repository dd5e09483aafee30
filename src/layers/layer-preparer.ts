/**
 * Gets a layer's index onto this disk, the cheapest way there is: it is here already; its blob is here, and gives
 * it; it was published beside the image; it is made of a table of contents that others made; it is made of the
 * headers of an uncompressed tar; or the blob is streamed once.
 *
 * Two requests for one layer share the work, unless their images claim different tars; the work ends when the last of them gives up, and a failed
 * attempt leaves nothing that the next one could trip over.
 */

import { rename, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import pLimit from 'p-limit';
import { temporaryName } from '../common/atomic-file.js';
import type { Digest } from '../common/digest.js';
import { isDiskFull } from '../common/disk-full.js';
import { SiphonError, errorCode, errorMessage } from '../common/errors.js';
import { fileExists } from '../common/file-exists.js';
import type { Logger } from '../common/log.js';
import { SharedWork } from '../common/shared-work.js';
import type { ContentStore } from '../content/content-store.js';
import type { Image, ImageLayer } from '../content/image.js';
import { type ExpectedLayer, LayerIndex, type LayerInfo } from '../index/layer-index.js';
import { completeIndex } from './complete-index.js';
import { makeForeignIndex } from './foreign-index.js';
import { hopLayer } from './hop-layer.js';
import type { LayerListener } from './layer-event.js';
import { type LayerRecord, type LayerStore, indexExpectation } from './layer-store.js';
import { writeCompressedIndex } from './published-index.js';
import { streamLayer } from './stream-layer.js';

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
  /** By digest and claimed diff id: whose claim is wrong, fails alone. */
  readonly #work = new SharedWork<string, LayerRecord>();
  /** The last one of each blob that is under way. */
  readonly #turns = new Map<Digest, Promise<LayerRecord>>();
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
    const { digest } = layer.descriptor;
    const key = `${digest} ${layer.diffId ?? ''}`;
    const record = await this.#work.run(key, options.signal, (signal) =>
      this.#inTurn(digest, () =>
        this.#limit(() => this.#prepare(image, layer, { ...options, signal })),
      ),
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
      const info = await this.#usable(task);
      if (info?.digestOf === 'none') await this.#complete(task);
      else if (info === undefined) {
        await this.#stream(task, { keep: false }).catch((error: unknown) => {
          throw namingLayer(error, task);
        });
        await this.#layers.settle(task.record.number);
      }
      this.#checkDiffId(layer, task.record);
      return finish(task);
    });
  }

  /** The record of a layer whose index is here. @throws SiphonError `not-found` where none is */
  async existing(image: Image, layer: ImageLayer, options: BuildOptions): Promise<LayerRecord> {
    const task = this.#begin(image, layer, { ...options, badIndex: 'fail' });
    const info = await this.#usable(task);
    if (info !== undefined && info.digestOf !== 'none') {
      this.#checkDiffId(layer, task.record);
      return finish(task);
    }
    throw new SiphonError(
      'not-found',
      `Cannot find index of layer "${layer.descriptor.digest}" of "${image.name}": there is none here, expected one of the whole layer in "${task.output}"`,
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

  /** One attempt at a blob after the other: they write to the same place. */
  async #inTurn(digest: Digest, attempt: () => Promise<LayerRecord>): Promise<LayerRecord> {
    const before = this.#turns.get(digest);
    const turn = before === undefined ? attempt() : before.then(attempt, attempt);
    this.#turns.set(digest, turn);
    try {
      return await turn;
    } finally {
      if (this.#turns.get(digest) === turn) this.#turns.delete(digest);
    }
  }

  async #prepare(image: Image, layer: ImageLayer, options: PrepareOptions): Promise<LayerRecord> {
    options.signal.throwIfAborted();
    const task = this.#begin(image, layer, options);
    try {
      if ((await this.#usable(task)) === undefined) {
        // Nobody has to be believed about a blob that is here.
        if (await this.#content.has(layer.descriptor.digest)) await this.#stream(task);
        else if (!(await this.#takePublished(task))) await this.#makeIndex(task);
        await this.#layers.settle(task.record.number);
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

  /** What the index that is here says of the layer, where there is one that can be trusted. */
  async #usable({ record, output }: Task): Promise<LayerInfo | undefined> {
    if (!(await fileExists(output))) return undefined;
    try {
      using index = LayerIndex.open(output, indexExpectation(record));
      return index.info;
    } catch (error) {
      this.#log.warn({ layer: record.blobDigest, reason: errorMessage(error) }, 'index dropped');
      await rm(output, { recursive: true, force: true });
      return undefined;
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
      checkPublished(temporary, indexExpectation(record, layer.diffId));
      await rename(temporary, output);
      return true;
    } catch (error) {
      const code = errorCode(error);
      const isItsFault = code !== 'cancelled' && !isDiskFull(error);
      // An index of another siphon's format is nobody's fault.
      const isFailure = options.badIndex === 'fail' && code !== 'unsupported';
      if (isFailure || !isItsFault) throw error;
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
    const onFound = (): void => options.onEvent?.({ digest, status: 'index', done: 0, total });
    const making = { output, signal: options.signal, onFound, log: this.#log };
    const foreign = await makeForeignIndex(image, layer, making);
    if (foreign.kind === 'made' || (await hopLayer(image, layer, making))) return;
    await this.#stream({ ...task, because: foreign.because });
  }

  /** Reads a layer whole of which only headers were read. */
  async #complete(task: Task): Promise<void> {
    await this.#pass(task, completeIndex, undefined);
  }

  async #stream(task: Task, { keep } = { keep: true }): Promise<void> {
    await this.#pass(task, streamLayer, keep ? this.#content : undefined);
  }

  async #pass(
    { image, layer, output, record, options: { signal, onEvent }, because }: Task,
    pass: typeof streamLayer,
    content: ContentStore | undefined,
  ): Promise<void> {
    const { digest, size: total } = layer.descriptor;
    const source = await image.openLayer(layer, signal);
    const onBytes = (done: number): void => onEvent?.({ digest, status: 'streaming', done, total });
    try {
      const { diffId } = layer;
      const log = this.#log;
      await pass(source, { record, diffId, output, content, because, onBytes, signal, log });
    } finally {
      await source.close();
    }
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

/** @throws SiphonError as LayerIndex.open; `corrupt` where nothing holds the contents to the layer */
function checkPublished(path: string, expected: ExpectedLayer): void {
  using index = LayerIndex.open(path, expected);
  if (index.info.digestOf !== 'none') return;
  throw new SiphonError(
    'corrupt',
    `Cannot take the published index of layer "${index.info.blobDigest}": its spans have no digests, expected one each`,
  );
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

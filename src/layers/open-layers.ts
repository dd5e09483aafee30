/**
 * The layers that this process has open: an index, a span cache and a source for what is missing. A
 * source is opened when the first missing span is asked for, so a layer that is all here needs no
 * registry.
 */

import { statfsSync } from 'node:fs';
import type { BlobSource } from '../common/blob-source.js';
import { SiphonError, errorMessage } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import type { ContentStore } from '../content/content-store.js';
import { type LayerOrigin, openOrigin } from '../content/layer-origin.js';
import { openLocation } from '../content/location.js';
import type { Miss, ServedLayer } from '../fuse/fuse-session.js';
import { LayerIndex } from '../index/layer-index.js';
import { SpanCache } from '../index/span-cache.js';
import { SpanReader } from '../index/span-reader.js';
import { type UnkeptSpan, UnkeptSpans } from '../index/unkept-spans.js';
import type { QueueLimits } from '../remote/fetch-queue.js';
import { FetchQueues } from '../remote/fetch-queues.js';
import type { RegistryAccess } from '../remote/registry.js';
import { CacheLimit } from './cache-limit.js';
import { completeIndex } from './complete-index.js';
import { IndexRepair } from './index-repair.js';
import { LayerCompletion } from './layer-completion.js';
import { type LayerRecord, type LayerStore, indexExpectation } from './layer-store.js';

/** Most bytes of one layer's files that are fetched before anybody reads them. */
const MAX_PREFETCH = 512 << 20;

/** What went wrong last, until something arrives. */
interface Trouble {
  last?: string;
}

interface OpenLayer {
  record: LayerRecord;
  index: LayerIndex;
  cache: SpanCache;
  reader: SpanReader;
  served: ServedLayer;
  trouble: Trouble;
  /** Comes before the first read of contents, where the index has no digests but the layer has. */
  completion: LayerCompletion | undefined;
  /** Ends what is fetched ahead of need. */
  closing: AbortController;
}

/** What opening a layer's source takes. */
type LayerParts = Pick<OpenLayer, 'record' | 'index' | 'trouble'>;

export interface OpenLayersOptions {
  layers: LayerStore;
  content: ContentStore;
  /** What may be asked of each host. */
  requests?: QueueLimits | undefined;
  access?: RegistryAccess | undefined;
  /** Bytes that all span caches of the root may take; default: half of its file system. */
  cacheSize?: number | undefined;
  /** Is told when the disk takes no more, and of layers whose contents cannot be given. */
  log: Logger;
}

export class OpenLayers implements AsyncDisposable {
  readonly #layers: LayerStore;
  readonly #content: ContentStore;
  readonly #unkept: UnkeptSpans;
  readonly #access: RegistryAccess | undefined;
  readonly #log: Logger;
  readonly #open = new Map<number, OpenLayer>();
  readonly #queues: FetchQueues;
  readonly #repair: IndexRepair;
  readonly cacheLimit: CacheLimit;
  #fetchedByClosed = 0;

  constructor(options: OpenLayersOptions) {
    this.#layers = options.layers;
    this.#content = options.content;
    this.#access = options.access;
    this.#log = options.log;
    this.#queues = new FetchQueues(options.requests);
    this.#unkept = new UnkeptSpans(options.log);
    this.#repair = new IndexRepair(options);
    const directory = options.layers.folder;
    const limit = options.cacheSize ?? halfOfFileSystem(directory);
    this.cacheLimit = new CacheLimit({ directory, limit, open: this.#open, log: options.log });
  }

  has(number: number): boolean {
    return this.#open.has(number);
  }

  /**
   * Opens a layer whose index is here, and holds it until it is closed.
   * @throws SiphonError `corrupt` or `invalid` where the index cannot be trusted
   */
  open(record: LayerRecord): ServedLayer {
    const known = this.#open.get(record.number);
    if (known !== undefined) return known.served;
    const layer = this.#openFiles(record);
    this.#layers.hold(record.number);
    this.#open.set(record.number, layer);
    return layer.served;
  }

  /** Whether a layer that {@link open} refused with `error` has an index now that is worth another try. */
  repair(record: LayerRecord, error: unknown): Promise<boolean> {
    return this.#repair.repair(record, error);
  }

  /**
   * Opens what an earlier process with the same holder had open, repaired where that is needed.
   * @param failed is told of each layer that cannot be opened any more
   */
  async openHeld(failed: (number: number, error: unknown) => void): Promise<ServedLayer[]> {
    const opened = this.#layers.held().map(async (record) => {
      try {
        return [await this.#openRepaired(record)];
      } catch (error) {
        failed(record.number, error);
        return [];
      }
    });
    return (await Promise.all(opened)).flat();
  }

  /** Nothing is open yet, whatever an earlier process of the same id left. */
  forgetHeld(): void {
    this.#layers.dropAll();
  }

  /**
   * Brings missing spans into the cache, or into memory: see {@link unkept}.
   * @param onProgress is called whenever part of what must come first has arrived
   * @throws SiphonError `not-found` for a layer not open, …
   */
  async fetch(miss: Miss, signal: AbortSignal, onProgress = (): void => undefined): Promise<void> {
    await this.complete(miss.layer, signal, onProgress);
    const { reader, trouble } = this.#get(miss.layer);
    await reader.ensure(miss.firstSpan, miss.lastSpan, signal);
    delete trouble.last;
  }

  /** What of a miss is not in the cache file though it was fetched, for the disk did not take it. */
  unkept({ layer, firstSpan, lastSpan }: Miss): UnkeptSpan[] {
    return this.#open.get(layer)?.reader.unkept(firstSpan, lastSpan) ?? [];
  }

  /**
   * Sees to it that what is read of the layer can be checked: one of which only headers were read is read
   * whole. Does nothing where that is so already, or where nobody knows what the contents should be.
   * @throws SiphonError `corrupt` where the layer is not what it should be; `cancelled`; …
   */
  async complete(
    number: number,
    signal: AbortSignal,
    onProgress = (): void => undefined,
  ): Promise<void> {
    await this.#get(number).completion?.wait(signal, onProgress);
  }

  /**
   * Brings what the layer's maker says is read first into the cache, as far as it is not too much.
   * @throws as {@link fetch}; `cancelled` when the layer is closed
   */
  async prefetch(number: number): Promise<void> {
    const { index, reader, closing } = this.#get(number);
    const end = Math.min(index.info.prefetchEnd, MAX_PREFETCH);
    if (end > 0) await reader.ensure(0, index.spanAt(end - 1), closing.signal, 'prefetch');
  }

  /** What keeps the layer's bytes from coming, in words that name it; `undefined` where nothing does. */
  problem(number: number): string | undefined {
    const layer = this.#open.get(number);
    if (layer?.trouble.last === undefined) return undefined;
    return `layer "${layer.index.info.blobDigest}": ${layer.trouble.last}`;
  }

  /** What was asked of hosts so far, by urgency. */
  fetches(): ReturnType<FetchQueues['counts']> {
    return this.#queues.counts();
  }

  /** Bytes of the layer on this disk, and its inodes. */
  usage(number: number): { size: number; inodes: number } {
    const { cache, index } = this.#get(number);
    return { size: cache.presentBytes(), inodes: index.info.inodeCount };
  }

  numbers(): number[] {
    return [...this.#open.keys()];
  }

  /** Spans brought into the cache so far, for layers closed by now too. */
  fetchedSpans(): number {
    let spans = this.#fetchedByClosed;
    for (const { reader } of this.#open.values()) spans += reader.fetchedSpans;
    return spans;
  }

  async close(number: number): Promise<void> {
    const layer = this.#open.get(number);
    if (layer === undefined) return;
    this.#open.delete(number);
    layer.closing.abort();
    await layer.completion?.settled();
    await layer.reader.close();
    this.#fetchedByClosed += layer.reader.fetchedSpans;
    layer.cache.close();
    layer.index.close();
    this.#layers.drop(number);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cacheLimit.close();
    await this.#repair[Symbol.asyncDispose]();
    for (const number of this.#open.keys()) await this.close(number);
  }

  async #openRepaired(record: LayerRecord): Promise<ServedLayer> {
    try {
      return this.open(record);
    } catch (error) {
      if (!(await this.repair(record, error))) throw error;
      return this.open(record);
    }
  }

  #get(number: number): OpenLayer {
    const layer = this.#open.get(number);
    if (layer !== undefined) return layer;
    throw new SiphonError('not-found', `Cannot find layer ${number} among those served`);
  }

  #openFiles(record: LayerRecord): OpenLayer {
    const indexPath = this.#layers.indexPath(record.number);
    const index = LayerIndex.open(indexPath, indexExpectation(record));
    let cache: SpanCache | undefined;
    try {
      cache = SpanCache.open(this.#layers.directory(record.number), index.spanBounds);
      const trouble: Trouble = {};
      const reader = this.#reader({ record, index, cache, trouble });
      const { number } = record;
      const { dataPath: cachePath, presence, used } = cache;
      const served = { number, indexPath, cachePath, presence, used };
      const closing = new AbortController();
      const lacksDigests = index.info.digestOf === 'none' && record.identity === 'content';
      const completion = lacksDigests
        ? new LayerCompletion(
            (onBytes, signal) => this.#complete(layer, onBytes, signal),
            closing.signal,
          )
        : undefined;
      const layer: OpenLayer = {
        record,
        index,
        cache,
        reader,
        served,
        trouble,
        completion,
        closing,
      };
      return layer;
    } catch (error) {
      cache?.close();
      index.close();
      throw error;
    }
  }

  #reader(layer: LayerParts & { cache: SpanCache }): SpanReader {
    const { index, cache } = layer;
    const source = (): Promise<BlobSource> => this.#source(layer);
    const onStored = (bytes: number): void => this.#stored(bytes);
    return new SpanReader({ index, cache, source, unkept: this.#unkept, onStored });
  }

  /** Whoever waits for the span goes first. */
  #stored(bytes: number): void {
    setImmediate(() => this.cacheLimit.wrote(bytes));
  }

  async #complete(layer: OpenLayer, onBytes: () => void, signal: AbortSignal): Promise<void> {
    const { record } = layer;
    try {
      await this.#completeIndex(layer, onBytes, signal);
      signal.throwIfAborted();
      const index = LayerIndex.open(
        this.#layers.indexPath(record.number),
        indexExpectation(record),
      );
      const [before, reader] = [layer.index, layer.reader];
      layer.index = index;
      layer.reader = this.#reader({ ...layer, index });
      layer.completion = undefined;
      await reader.close();
      before.close();
      this.#log.info(
        { layer: record.blobDigest },
        'layer is here as a whole, and its tree is its own',
      );
    } catch (error) {
      if (!signal.aborted)
        this.#log.error(
          { layer: record.blobDigest, err: error },
          `Cannot give contents of layer "${record.blobDigest}": ${errorMessage(error)}`,
        );
      throw error;
    }
  }

  async #completeIndex(layer: OpenLayer, onBytes: () => void, signal: AbortSignal): Promise<void> {
    const { record } = layer;
    const output = this.#layers.indexPath(record.number);
    const source = await this.#source(layer);
    try {
      const { diffId } = layer.index.info;
      const content = this.#content;
      await completeIndex(source, { record, diffId, output, content, onBytes, signal });
    } finally {
      await source.close();
    }
  }

  async #source({ record, index, trouble }: LayerParts): Promise<BlobSource> {
    const { blobDigest: digest, blobSize: size, digestOf } = index.info;
    if (await this.#content.has(digest)) return this.#content.source({ digest, size });
    const descriptor = { mediaType: record.mediaType, digest, size };
    const access = this.#access;
    const isNamedByPlace = digestOf === 'none' && record.identity === 'location';
    const source = isNamedByPlace
      ? await openLocation(record.origin, digest, new AbortController().signal)
      : await openOrigin(record.origin, descriptor, {
          ...(access === undefined ? {} : { access }),
          onFailure: (error) => (trouble.last = errorMessage(error)),
        });
    const place = placeOf(record.origin);
    return place === undefined ? source : this.#queues.ordering(source, place.host, place.flow);
  }
}

function halfOfFileSystem(directory: string): number {
  const { blocks, bsize } = statfsSync(directory);
  return (blocks * bsize) / 2;
}

/** The host that is asked, and what there takes turns with others; `undefined` where nobody is. */
function placeOf(origin: LayerOrigin): { host: string; flow: string } | undefined {
  switch (origin.kind) {
    case 'registry':
      return { host: origin.host, flow: origin.repository };
    case 'url': {
      const { host, pathname } = new URL(origin.url);
      return { host, flow: pathname };
    }
    case 'file':
      return undefined;
  }
}

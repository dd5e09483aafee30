/**
 * The layers that this process has open: an index, a span cache and a source for what is missing. A
 * source is opened when the first missing span is asked for, so a layer that is all here needs no
 * registry.
 */

import { statSync, statfsSync } from 'node:fs';
import type { BlobSource } from '../common/blob-source.js';
import { SiphonError, errorCode, errorMessage } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import type { Urgency } from '../common/urgency.js';
import type { ContentStore } from '../content/content-store.js';
import type { LayerOrigin } from '../content/layer-origin.js';
import type { Miss, ServedLayer } from '../fuse/fuse-session.js';
import { LayerIndex } from '../index/layer-index.js';
import { type Inode, type LayerInfo, rootIno } from '../index/layer-model.js';
import { SpanCache } from '../index/span-cache.js';
import { SpanReader } from '../index/span-reader.js';
import { type UnkeptSpan, UnkeptSpans } from '../index/unkept-spans.js';
import type { QueueLimits } from '../remote/fetch-queue.js';
import { FetchQueues } from '../remote/fetch-queues.js';
import type { RegistryAccess } from '../remote/registry.js';
import { BackgroundFill, type FilledLayer } from './background-fill.js';
import { CacheLimit } from './cache-limit.js';
import { completeIndex } from './complete-index.js';
import { IndexRepair } from './index-repair.js';
import { type CompletionWork, LayerCompletion } from './layer-completion.js';
import type { LayerBlob } from './layer-blob.js';
import { LargeFiles, dropLargeFiles } from './large-files.js';
import { LayerSource, placeOf } from './layer-source.js';
import { type LayerRecord, type LayerStore, indexExpectation } from './layer-store.js';
import type { StreamOptions } from './stream-layer.js';

/** Most bytes of one layer's files that are fetched before anybody reads them. */
const MAX_PREFETCH = 512 << 20;

/** What went wrong last, until something arrives. */
interface Trouble {
  last?: string;
}

interface OpenLayer extends FilledLayer {
  index: LayerIndex;
  cache: SpanCache;
  reader: SpanReader;
  served: ServedLayer;
  trouble: Trouble;
  /** Why nothing of it is given any more. */
  refused?: SiphonError;
}

export interface OpenLayersOptions {
  layers: LayerStore;
  content: ContentStore;
  /** What may be asked of each host. */
  requests?: QueueLimits | undefined;
  access?: RegistryAccess | undefined;
  /** Bytes that all that is kept of the root's lazy layers may take; default: half of its file system. */
  cacheSize?: number | undefined;
  /** Whether layers are brought here as a whole, and from how many ms after they are opened; default: not. */
  fillAfter?: number | undefined;
  /** Is told when the disk takes no more, and of layers whose contents cannot be given. */
  log: Logger;
}

export interface HeldLayers {
  opened: ServedLayer[];
  /** By number, those whose index has to be built again first; rejected where that is not to be. */
  awaited: Map<number, Promise<ServedLayer>>;
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
  readonly #fill: BackgroundFill | undefined;
  readonly cacheLimit: CacheLimit;
  #fetchedByClosed = 0;
  /** Of large files that are gone for everybody. */
  readonly #removals = new Set<Promise<void>>();

  constructor(options: OpenLayersOptions) {
    this.#layers = options.layers;
    this.#content = options.content;
    this.#access = options.access;
    this.#log = options.log;
    this.#queues = new FetchQueues(options.requests);
    this.#unkept = new UnkeptSpans(options.log);
    this.#repair = new IndexRepair(options);
    if (options.fillAfter !== undefined) this.#fill = this.#newFill(options.fillAfter);
    const directory = options.layers.folder;
    const limit = options.cacheSize ?? halfOfFileSystem(directory);
    const { log } = options;
    this.cacheLimit = new CacheLimit({
      directory,
      limit,
      open: this.#open,
      wholeBytes: () => this.#wholeBytes(),
      dropLargeFiles: (number) => this.#dropLargeFiles(number),
      log,
    });
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
    this.#fill?.begin(layer);
    return layer.served;
  }

  /** Whether a layer that {@link open} refused with `error` has an index now that is worth another try. */
  repair(record: LayerRecord, error: unknown): Promise<boolean> {
    return this.#repair.repair(record, error);
  }

  /** Opens what an earlier process with the same holder had open. */
  openHeld(): HeldLayers {
    const held: HeldLayers = { opened: [], awaited: new Map() };
    for (const record of this.#layers.held()) {
      try {
        held.opened.push(this.open(record));
      } catch (error) {
        held.awaited.set(record.number, this.#openRepaired(record, error));
      }
    }
    return held;
  }

  /** Nothing is open yet, whatever an earlier process of the same id left. */
  forgetHeld(): void {
    this.#layers.dropAll();
  }

  /** `source`, read in the order of the queue of its host, which what is open here shares; as it is where it asks no host. */
  ordering(source: BlobSource, origin: LayerOrigin): BlobSource {
    const place = placeOf(origin);
    if (place === undefined || source.local) return source;
    return this.#queues.ordering(source, place.host, place.flow);
  }

  /**
   * Brings missing spans into the cache, or into memory: see {@link unkept}.
   * @throws SiphonError `not-found` for a layer not open, …
   */
  async fetch(miss: Miss, signal: AbortSignal): Promise<void> {
    await this.complete(miss.layer, signal);
    const { reader, trouble, refused } = this.#get(miss.layer);
    if (refused !== undefined) throw refused;
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
  async complete(number: number, signal: AbortSignal): Promise<void> {
    await this.#get(number).completion?.wait(signal);
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

  /** The root directory of the layer's tree. */
  root(number: number): Inode {
    const { index } = this.#get(number);
    const inode = index.inode(rootIno);
    if (inode !== undefined) return inode;
    throw new SiphonError('corrupt', `Cannot read the index of layer ${number}: it has no root`);
  }

  /** Whether anything in the layer has an extended attribute. @throws SiphonError `not-found` for a layer not open */
  hasXattrs(number: number): boolean {
    return this.#get(number).index.info.hasXattrs;
  }

  /** Bytes of the layer on this disk, and its inodes. */
  usage(number: number): { size: number; inodes: number } {
    const { cache, index } = this.#get(number);
    return { size: cache.presentBytes(), inodes: index.info.inodeCount };
  }

  /** Bytes of the layer's blob that are here, and whether the layer is refused for what it turned out to be. */
  filled(number: number): { present: number; isRefused: boolean } {
    const { source, refused } = this.#get(number);
    return { present: source.present, isRefused: refused !== undefined };
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
    await this.#fill?.settled(layer);
    await layer.reader.close();
    await layer.source.close();
    this.#fetchedByClosed += layer.reader.fetchedSpans;
    layer.cache.close();
    layer.index.close();
    this.#layers.drop(number);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cacheLimit.close();
    await this.#repair[Symbol.asyncDispose]();
    await Promise.all(this.numbers().map((number) => this.close(number)));
    await Promise.all(this.#removals);
  }

  async #openRepaired(record: LayerRecord, fault: unknown): Promise<ServedLayer> {
    if (!(await this.repair(record, fault))) throw fault;
    return this.open(record);
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
      const closing = new AbortController();
      const source = this.#source(record, index.info, { trouble, closing });
      const reader = this.#reader({ index, cache, source });
      const { number } = record;
      const { dataPath: cachePath, presence, used } = cache;
      const served = { number, indexPath, cachePath, presence, used };
      const lacksDigests = index.info.digestOf === 'none' && record.identity === 'content';
      const work: CompletionWork = (...args) => this.#complete(layer, ...args);
      const completion = lacksDigests ? new LayerCompletion(work, closing.signal) : undefined;
      const parts = { record, index, source, cache, reader, served };
      const layer: OpenLayer = { ...parts, trouble, completion, closing };
      return layer;
    } catch (error) {
      cache?.close();
      index.close();
      throw error;
    }
  }

  #reader({ index, cache, source }: Pick<OpenLayer, 'index' | 'cache' | 'source'>): SpanReader {
    const onStored = (bytes: number): void => this.#stored(bytes);
    return new SpanReader({ index, cache, source: source.lend, unkept: this.#unkept, onStored });
  }

  #source(
    record: LayerRecord,
    info: LayerInfo,
    { trouble, closing }: Pick<OpenLayer, 'trouble' | 'closing'>,
  ): LayerSource {
    return new LayerSource({
      record,
      info,
      directory: this.#layers.directory(record.number),
      content: this.#content,
      access: this.#access,
      queues: this.#queues,
      keeps: this.#fill !== undefined,
      onFailure: (message) => (trouble.last = message),
      onKept: (bytes) => this.#stored(bytes),
      closing: closing.signal,
      log: this.#log,
    });
  }

  /** @param delay in ms, also until what was read of a layer is taken for all that its users read at first */
  #newFill(delay: number): BackgroundFill {
    const shared = {
      content: this.#content,
      directoryOf: (number: number) => this.#layers.directory(number),
      indexPathOf: (number: number) => this.#layers.indexPath(number),
      log: this.#log,
    };
    const largeFiles = new LargeFiles({
      ...shared,
      quiet: delay,
      room: () => this.cacheLimit.roomForLargeFiles,
      onWritten: (bytes) => this.#stored(bytes),
    });
    return new BackgroundFill({
      ...shared,
      delay,
      room: () => this.cacheLimit.roomForBlobs,
      whole: async ({ record }) => {
        const layer = this.#open.get(record.number);
        if (layer === undefined || layer.refused !== undefined) return;
        await largeFiles.write(layer, layer.closing.signal);
      },
      refuse: ({ record }, because) => this.#refuse(record, because),
    });
  }

  /** What goes then is removed while nobody but the end of this process waits for it. */
  #dropLargeFiles(number: number): boolean {
    return this.#layers.unlessHeld(number, () => {
      const removal = dropLargeFiles(this.#layers.directory(number))
        .catch((error: unknown) => {
          this.#log.warn({ layer: number, err: error }, 'large files are not removed yet');
        })
        .finally(() => this.#removals.delete(removal));
      this.#removals.add(removal);
    });
  }

  /** From now on reads of the layer fail, but for what the kernel has in its own cache. */
  #refuse({ number, blobDigest }: LayerRecord, because: SiphonError): void {
    const layer = this.#open.get(number);
    if (layer === undefined) return;
    layer.refused = because;
    layer.trouble.last = because.message;
    this.#log.error({ layer: blobDigest, err: because }, `layer is refused: ${because.message}`);
    const spans = [...new Uint8Array(layer.cache.presence).keys()];
    // Where another process has the cache open, it stays there, and this one looks at it no more.
    if (!layer.cache.evict(spans)) new Uint8Array(layer.cache.presence).fill(0);
  }

  /** Whoever waits for the span goes first. */
  #stored(bytes: number): void {
    setImmediate(() => this.cacheLimit.wrote(bytes));
  }

  async #complete(layer: OpenLayer, signal: AbortSignal, urgency: Urgency): Promise<void> {
    const { record } = layer;
    try {
      await this.#completeIndex(layer, signal, urgency);
      signal.throwIfAborted();
      const index = LayerIndex.open(
        this.#layers.indexPath(record.number),
        indexExpectation(record),
      );
      const [before, reader] = [layer.index, layer.reader];
      layer.index = index;
      layer.reader = this.#reader(layer);
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

  async #completeIndex(layer: OpenLayer, signal: AbortSignal, urgency: Urgency): Promise<void> {
    const lent = await layer.source.lend();
    const { blob } = layer.source;
    const keeps = this.#fill !== undefined && blob !== undefined;
    if (!keeps) return this.#completeInto(layer, lent, { content: this.#content, signal, urgency });
    try {
      const isOurs = await blob.claim();
      // What is kept in parts is not written twice.
      const content = isOurs ? undefined : this.#content;
      await this.#completeInto(layer, lent, { content, signal, urgency });
      if (isOurs) await this.#adopt(layer, blob, signal);
    } finally {
      blob.release();
    }
  }

  /** The complete index, of one pass over the blob, which is kept in `content` where that is given. */
  async #completeInto(
    { record, index, source: { blob } }: OpenLayer,
    lent: BlobSource,
    how: Pick<StreamOptions, 'content' | 'signal'> & { urgency: Urgency },
  ): Promise<void> {
    const { diffId, blobDigest: digest, blobSize: size } = index.info;
    const output = this.#layers.indexPath(record.number);
    const onBytes = (): void => undefined;
    try {
      await completeIndex(lent, { record, diffId, output, onBytes, log: this.#log, ...how });
    } catch (error) {
      if (errorCode(error) === 'corrupt') await blob?.drawAnew(0);
      throw error;
    }
    if (how.content !== undefined) blob?.moveTo(await how.content.source({ digest, size }));
  }

  /** What the disk did not take as it came, comes from the registry again when it is read. */
  async #adopt({ index }: OpenLayer, blob: LayerBlob, signal: AbortSignal): Promise<void> {
    const { blobDigest: digest } = index.info;
    await blob.written();
    if (blob.present < blob.size) return;
    if ((await blob.seal(signal)).digest === digest) await blob.moveInto(this.#content, digest);
    else await blob.drawAnew(0);
  }

  /** Bytes on disk of the layers' blobs that are here as a whole. */
  #wholeBytes(): number {
    const opened = [...this.#open.values()].map(({ index }) => index.info.blobDigest);
    const known = this.#layers.list().map(({ blobDigest }) => blobDigest);
    let bytes = 0;
    for (const digest of new Set([...opened, ...known]))
      bytes += statSync(this.#content.path(digest), { throwIfNoEntry: false })?.size ?? 0;
    return bytes;
  }
}

function halfOfFileSystem(directory: string): number {
  const { blocks, bsize } = statfsSync(directory);
  return (blocks * bsize) / 2;
}

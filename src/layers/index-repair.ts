/**
 * Layers whose index is damaged, or of the format of another version of siphon, while their blob is in the
 * content store: the index is built again of the blob, without a registry. What gives an inode its number
 * must be the same in every version, so that whoever has files of the layer open goes on with them. Spans may
 * be cut elsewhere, so the span cache begins anew; what it had is decoded from the blob.
 */

import { rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import pLimit from 'p-limit';
import { renameDurably, temporaryName } from '../common/atomic-file.js';
import { type ErrorCode, SiphonError, errorCode, errorMessage } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import type { ContentStore } from '../content/content-store.js';
import { LayerIndex } from '../index/layer-index.js';
import { SpanCache } from '../index/span-cache.js';
import { type LayerRecord, type LayerStore, indexExpectation } from './layer-store.js';
import { streamLayer } from './stream-layer.js';

export interface IndexRepairOptions {
  layers: LayerStore;
  content: ContentStore;
  log: Logger;
}

/** What LayerIndex.open says of a file that is at fault itself. */
const FAULTS: readonly (ErrorCode | undefined)[] = [
  'corrupt',
  'invalid',
  'not-found',
  'unsupported',
];

export class IndexRepair implements AsyncDisposable {
  readonly #options: IndexRepairOptions;
  readonly #running = new Map<number, Promise<boolean>>();
  readonly #closing = new AbortController();
  /** Each keeps a processor busy. */
  readonly #limit = pLimit(availableParallelism());

  constructor(options: IndexRepairOptions) {
    this.#options = options;
  }

  /**
   * Builds a layer's index again where `error`, with which it did not open, calls for it and the blob is here.
   * Callers for one layer share the work.
   * @returns whether there is another index now; why there is none, is logged
   */
  repair(record: LayerRecord, error: unknown): Promise<boolean> {
    const { number } = record;
    const known = this.#running.get(number);
    if (known !== undefined) return known;
    const work = this.#repair(record, error).finally(() => this.#running.delete(number));
    this.#running.set(number, work);
    return work;
  }

  /** Ends what is under way. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await Promise.all(this.#running.values());
  }

  async #repair(record: LayerRecord, fault: unknown): Promise<boolean> {
    const { content, log } = this.#options;
    const layer = record.blobDigest;
    try {
      if (!FAULTS.includes(errorCode(fault)) || !(await content.has(layer))) return false;
      await this.#limit(() => this.#rebuild(record));
      log.warn({ layer, reason: errorMessage(fault) }, 'index built again of the blob kept here');
      return true;
    } catch (error) {
      log.warn({ layer, reason: errorMessage(error) }, 'index is not built again');
      return false;
    }
  }

  async #rebuild(record: LayerRecord): Promise<void> {
    const { layers, content } = this.#options;
    const { signal } = this.#closing;
    const directory = layers.directory(record.number);
    const output = layers.indexPath(record.number);
    const path = temporaryName(output);
    const source = await content.source({ digest: record.blobDigest, size: record.blobSize });
    try {
      const [diffId, onBytes] = [undefined, () => undefined];
      const nowhere = { content: undefined, diffId, onBytes };
      await streamLayer(source, { ...nowhere, record, output: path, signal });
      emptyCache(directory, path, record);
      await renameDurably(path, output);
    } finally {
      await source.close();
      await rm(path, { force: true });
    }
  }
}

/** @throws SiphonError `busy` where another process reads by the cache, and by another index perhaps */
function emptyCache(directory: string, indexPath: string, record: LayerRecord): void {
  using index = LayerIndex.open(indexPath, indexExpectation(record));
  using cache = SpanCache.open(directory, index.spanBounds);
  if (cache.evict([...new Uint8Array(cache.presence).keys()])) return;
  throw new SiphonError(
    'busy',
    `Cannot empty the cache of layer "${record.blobDigest}": another process reads by it, expected nobody`,
  );
}

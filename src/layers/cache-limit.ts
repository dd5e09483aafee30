/**
 * Keeps the span caches of a root, all layers together, below a size. What is over goes least recently used
 * first: of layers that this process has open, span by span; of those that nobody has open, whole.
 *
 * A span that was read a moment ago stays, whatever the limit says. Spans of one group go together, since one
 * pass over the group brings all of them back. A layer that another process has open is left alone: what
 * that process knows of it must stay true. What the kernel has in its own cache it serves without being asked,
 * so a span may go though its pages are in use; they stay.
 */

import { closeSync, ftruncateSync, openSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { errorMessage, systemCode } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import { tryLockFile } from '../ffi/libc.js';
import type { LayerIndex } from '../index/layer-index.js';
import type { SpanCache } from '../index/span-cache.js';

/** A layer that this process has open. */
export interface CachedLayer {
  index: LayerIndex;
  cache: SpanCache;
}

export interface CacheLimitOptions {
  /** `<root>/layers`: a folder a layer, named by its number. */
  directory: string;
  /** Bytes on disk. */
  limit: number;
  /** What this process has open, by number. */
  open: ReadonlyMap<number, CachedLayer>;
  log: Logger;
}

/** What goes at once. */
interface Unit {
  layer: number;
  /** Those of an open layer; of any other, all. */
  spans: number[];
  bytes: number;
  /** Seconds since the epoch. */
  lastUse: number;
}

/** Share of the limit that is written between two looks, and that a look frees beyond what is over. */
const STEP = 1 / 16;
/** A span that was used less than this many seconds ago stays. */
const GRACE = 2;
/** Bytes of a block as stat(2) counts them. */
const BLOCK = 512;

export class CacheLimit {
  readonly #options: CacheLimitOptions;
  #unseen = Number.POSITIVE_INFINITY;
  #later: NodeJS.Timeout | undefined;
  #closed = false;
  /** Spans of open layers that were taken out so far, and bytes of any. */
  evictedSpans = 0;
  evictedBytes = 0;

  constructor(options: CacheLimitOptions) {
    this.#options = options;
  }

  get limit(): number {
    return this.#options.limit;
  }

  /** Bytes that the span caches take on disk. */
  size(): number {
    return this.#layers().reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Is told of each span that is written; looks from time to time, and at the first. */
  wrote(bytes: number): void {
    this.#unseen += bytes;
    if (this.#unseen < this.limit * STEP) return;
    this.#unseen = 0;
    this.#look();
  }

  /** Looks no more. */
  close(): void {
    clearTimeout(this.#later);
    this.#closed = true;
  }

  /** Enforces the limit; what is too young to go, a moment later. */
  #look(): void {
    if (this.#closed) return;
    clearTimeout(this.#later);
    try {
      if (this.enforce() <= 0) return;
    } catch (error) {
      this.#options.log.warn(
        { err: error },
        `span cache is not made smaller: ${errorMessage(error)}`,
      );
    }
    this.#later = setTimeout(() => this.#look(), GRACE * 1000).unref();
  }

  /**
   * Frees what is over the limit, and a bit more, as far as anything may go.
   * @returns bytes that would have to go besides
   */
  enforce(): number {
    const { limit, log } = this.#options;
    const size = this.size();
    if (size <= limit) return 0;
    let left = size - limit * (1 - STEP);
    const units = this.#units().sort((a, b) => a.lastUse - b.lastUse);
    // Those that cannot be had alone give way to the next.
    while (left > 0 && units.length > 0) left -= this.#evict(firstOf(units, left));
    log.debug({ size, limit, left: Math.max(0, left) }, 'span cache made smaller');
    return left;
  }

  /** @returns the bytes that are free now */
  #evict(units: readonly Unit[]): number {
    let freed = 0;
    for (const layer of new Set(units.map((unit) => unit.layer))) {
      const ofLayer = units.filter((unit) => unit.layer === layer);
      const spans = ofLayer.flatMap((unit) => unit.spans);
      const cache = this.#options.open.get(layer)?.cache;
      const isGone = cache === undefined ? this.#empty(layer) : cache.evict(spans);
      if (!isGone) continue;
      freed += ofLayer.reduce((sum, { bytes }) => sum + bytes, 0);
      this.evictedSpans += spans.length;
    }
    this.evictedBytes += freed;
    return freed;
  }

  #units(): Unit[] {
    const { open } = this.#options;
    const latest = Date.now() / 1000 - GRACE;
    const units = this.#layers().flatMap((layer) => {
      const opened = open.get(layer.number);
      if (opened !== undefined) return unitsOf(layer.number, opened);
      return layer.bytes === 0 ? [] : [{ ...layer, layer: layer.number, spans: [] }];
    });
    return units.filter(({ lastUse }) => lastUse < latest);
  }

  /** Empties the cache of a layer that nobody has open; one whose record is too short begins anew. */
  #empty(number: number): boolean {
    const folder = join(this.#options.directory, String(number));
    const files = ['present', 'data'].flatMap((name) => openIfThere(join(folder, name)));
    try {
      if (files.length < 2 || !files.every(tryLockFile)) return false;
      for (const file of files) ftruncateSync(file);
      return true;
    } finally {
      for (const file of files) closeSync(file);
    }
  }

  #layers(): { number: number; bytes: number; lastUse: number }[] {
    const { directory } = this.#options;
    return readdirSync(directory).flatMap((name) => {
      if (!/^\d+$/.test(name)) return [];
      const data = statSync(join(directory, name, 'data'), { throwIfNoEntry: false });
      const present = statSync(join(directory, name, 'present'), { throwIfNoEntry: false });
      if (data === undefined || present === undefined) return [];
      const lastUse = present.mtimeMs / 1000;
      return [{ number: Number(name), bytes: data.blocks * BLOCK, lastUse }];
    });
  }
}

/** Takes the first out of `units`, as many as make up `bytes`. */
function firstOf(units: Unit[], bytes: number): Unit[] {
  let sum = 0;
  const end = units.findIndex((unit) => (sum += unit.bytes) >= bytes);
  return units.splice(0, end < 0 ? units.length : end + 1);
}

/** Present spans: one by one, or those of a group together. */
function unitsOf(layer: number, { index, cache }: CachedLayer): Unit[] {
  const units: Unit[] = [];
  for (let first = 0; first < index.info.spanCount;) {
    const group = index.hasOwnEntry(first) ? [index.span(first)] : index.group(first);
    first += group.length;
    const present = group.filter(({ number }) => cache.has(number));
    if (present.length === 0) continue;
    const spans = present.map(({ number }) => number);
    const bytes = present.reduce((sum, { tarLength }) => sum + tarLength, 0);
    units.push({ layer, spans, bytes, lastUse: Math.max(...spans.map((n) => cache.lastUse(n))) });
  }
  return units;
}

function openIfThere(path: string): number[] {
  try {
    return [openSync(path, 'r+')];
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  }
}

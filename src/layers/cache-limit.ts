/**
 * Keeps what a root has of its lazy layers below a size: span caches, parts of blobs, blobs that are whole, and large files
 * that are kept apart. What is over goes least recently used first: spans of layers that this process has open, one by one;
 * the parts of a blob all together; of layers that nobody has open, everything. A whole blob stays, for without it its layer
 * would need the registry again, and large files stay while their layer is open, for an overlay may stand on them; where
 * those take all there is, a little is left to spans besides.
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
import { largeFilesSize } from './large-files.js';

/** Parts of a blob that may go now: nobody reads, writes or checks them. */
export interface SpareParts {
  bytes: number;
  /** Seconds since the epoch. */
  lastUse: number;
}

/** What this process keeps of a blob that is not whole. */
export interface KeptParts {
  readonly spareParts: SpareParts | undefined;
  /** Bytes on disk that no folder shows. */
  readonly hiddenBytes: number;
  dropParts(): void;
}

/** A layer that this process has open. */
export interface CachedLayer {
  index: LayerIndex;
  cache: SpanCache;
  source: { readonly blob: KeptParts | undefined };
}

export interface CacheLimitOptions {
  /** `<root>/layers`: a folder a layer, named by its number. */
  directory: string;
  /** Bytes on disk. */
  limit: number;
  /** Bytes of the layers' blobs that are whole. */
  wholeBytes: () => number;
  /** What this process has open, by number. */
  open: ReadonlyMap<number, CachedLayer>;
  /** Takes a layer's large files away, unless anybody holds the layer. @returns whether they are gone */
  dropLargeFiles: (layer: number) => boolean;
  log: Logger;
}

/** What goes at once. */
interface Unit {
  layer: number;
  /** Those of an open layer; of any other, all. */
  of: 'spans' | 'parts' | 'files';
  spans: number[];
  bytes: number;
  /** Seconds since the epoch. */
  lastUse: number;
}

interface Files {
  number: number;
  /** Bytes on disk, and seconds since the epoch. */
  spans: SpareParts;
  parts: SpareParts;
  /** Bytes of large files that are kept apart. */
  large: number;
}

/**
 * Share of the limit that is written between two looks, that a look frees beyond what is over, and that whole blobs leave
 * to everything else.
 */
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

  /** Bytes on disk that count. */
  size(): number {
    const layers = this.#layers();
    return this.#options.wholeBytes() + this.#passingBytes(layers) + this.#largeFiles(layers).all;
  }

  /** Bytes among them of large files that are kept apart. */
  largeFiles(): number {
    return this.#largeFiles(this.#layers()).all;
  }

  /** Bytes of blobs that may still come to stay: spans give way to them. */
  get roomForBlobs(): number {
    const stays = this.#layers().reduce((sum, { parts, large }) => sum + parts.bytes + large, 0);
    return this.limit - this.#options.wholeBytes() - stays;
  }

  /** Bytes of large files that may still be kept apart. */
  get roomForLargeFiles(): number {
    return this.roomForBlobs - this.limit * STEP;
  }

  /** Is told of each span and part that is written; looks from time to time, and at the first. */
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
      this.#options.log.warn({ err: error }, `cache is not made smaller: ${errorMessage(error)}`);
    }
    this.#later = setTimeout(() => this.#look(), GRACE * 1000).unref();
  }

  /**
   * Frees what is over the limit, and a bit more, as far as anything may go.
   * @returns bytes that would have to go besides
   */
  enforce(): number {
    const { limit, wholeBytes, log } = this.#options;
    const layers = this.#layers();
    const large = this.#largeFiles(layers);
    const size = this.#passingBytes(layers) + large.all - large.inUse;
    const most = Math.max(limit - wholeBytes() - large.inUse, limit * STEP);
    if (size <= most) return 0;
    let left = size - most * (1 - STEP);
    const units = this.#units(layers).sort((a, b) => a.lastUse - b.lastUse);
    // Those that cannot be had alone give way to the next.
    while (left > 0 && units.length > 0) left -= this.#evict(firstOf(units, left));
    log.debug({ size, limit, left: Math.max(0, left) }, 'cache made smaller');
    return left;
  }

  /** What other processes have stays. @returns the bytes that are free now */
  #evict(units: readonly Unit[]): number {
    let freed = 0;
    for (const unit of units) if (this.#drop(unit)) freed += unit.bytes;
    const ofSpans = units.filter((unit) => unit.of === 'spans');
    for (const layer of new Set(ofSpans.map((unit) => unit.layer))) {
      const ofLayer = ofSpans.filter((unit) => unit.layer === layer);
      const spans = ofLayer.flatMap((unit) => unit.spans);
      const cache = this.#options.open.get(layer)?.cache;
      const isGone =
        cache === undefined ? this.#empty(layer, 'data', 'present') : cache.evict(spans);
      if (!isGone) continue;
      freed += ofLayer.reduce((sum, { bytes }) => sum + bytes, 0);
      this.evictedSpans += spans.length;
    }
    this.evictedBytes += freed;
    return freed;
  }

  #units(layers: readonly Files[]): Unit[] {
    const { open } = this.#options;
    const latest = Date.now() / 1000 - GRACE;
    const units = layers.flatMap(({ number: layer, spans, parts, large }): Unit[] => {
      const opened = open.get(layer);
      const blob = opened?.source.blob;
      const spare = blob === undefined ? parts : blob.spareParts;
      const lastUse = Math.max(parts.lastUse, spare?.lastUse ?? 0);
      const ofParts: Unit = { layer, of: 'parts', spans: [], bytes: spare?.bytes ?? 0, lastUse };
      if (opened !== undefined) return [ofParts, ...unitsOf(layer, opened)];
      const rest = { layer, spans: [], lastUse: spans.lastUse };
      const ofFiles: Unit = { ...rest, of: 'files', bytes: large };
      return [ofParts, ofFiles, { ...rest, of: 'spans', bytes: spans.bytes }];
    });
    return units.filter(({ lastUse, bytes }) => lastUse < latest && bytes > 0);
  }

  /** What is not of spans. @returns whether it is gone */
  #drop({ layer, of }: Unit): boolean {
    if (of === 'files') return this.#options.dropLargeFiles(layer);
    return of === 'parts' && this.#dropParts(layer);
  }

  /** @returns whether they are gone */
  #dropParts(layer: number): boolean {
    const blob = this.#options.open.get(layer)?.source.blob;
    if (blob === undefined) return this.#empty(layer, 'blob', 'parts');
    if (blob.spareParts === undefined) return false;
    blob.dropParts();
    return true;
  }

  /** Empties files of a layer that nobody has open; what has a record that is too short begins anew. */
  #empty(number: number, data: string, record: string): boolean {
    const folder = join(this.#options.directory, String(number));
    const files = [record, data].flatMap((name) => openIfThere(join(folder, name)));
    try {
      if (files.length < 2 || !files.every(tryLockFile)) return false;
      for (const file of files) ftruncateSync(file);
      return true;
    } finally {
      for (const file of files) closeSync(file);
    }
  }

  /** What goes before blobs that are whole. */
  #passingBytes(layers: readonly Files[]): number {
    let bytes = 0;
    for (const { spans, parts } of layers) bytes += spans.bytes + parts.bytes;
    for (const { source } of this.#options.open.values()) bytes += source.blob?.hiddenBytes ?? 0;
    return bytes;
  }

  /** Bytes: of all, and of layers that this process has open. */
  #largeFiles(layers: readonly Files[]): { all: number; inUse: number } {
    const sum = { all: 0, inUse: 0 };
    for (const { number, large } of layers) {
      sum.all += large;
      if (this.#options.open.has(number)) sum.inUse += large;
    }
    return sum;
  }

  #layers(): Files[] {
    const { directory } = this.#options;
    return readdirSync(directory).flatMap((name) => {
      if (!/^\d+$/.test(name)) return [];
      const folder = join(directory, name);
      const spans = filesOf(folder, 'data', 'present');
      const [parts, large] = [filesOf(folder, 'blob', 'parts'), largeFilesSize(folder)];
      return [{ number: Number(name), spans, parts, large }];
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
    const lastUse = Math.max(...spans.map((number) => cache.lastUse(number)));
    units.push({ layer, of: 'spans', spans, bytes, lastUse });
  }
  return units;
}

/** A sparse file, and the record that is written to whenever that is. */
function filesOf(folder: string, data: string, record: string): SpareParts {
  const { blocks = 0 } = statSync(join(folder, data), { throwIfNoEntry: false }) ?? {};
  const { mtimeMs = 0 } = statSync(join(folder, record), { throwIfNoEntry: false }) ?? {};
  return { bytes: blocks * BLOCK, lastUse: mtimeMs / 1000 };
}

function openIfThere(path: string): number[] {
  try {
    return [openSync(path, 'r+')];
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  }
}

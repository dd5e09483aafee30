/**
 * Has the kernel read from disk what the next requests will want, once the one at hand is answered: while its reader
 * goes on, rather than while somebody waits. Without it cold reads wait for one page of an index, or one small file, after
 * the other. What is in the page cache already costs next to nothing.
 *
 * - Of an index in use, the end, for what is about spans is at the begin: in most layers that is all of the tree.
 * - Of a layer's cache file, what lies around the begin of a file that somebody begins to read, where of its span
 *   something was read not long ago: files of one folder lie side by side in the tar, and are often read together. Who
 *   reads here and there gets no more than that. Absent spans are left out, for they are holes.
 */

import { willNeed } from '../ffi/libc.js';
import type { Segment } from '../index/layer-model.js';
import type { LayerTable, OpenLayer } from './layer-table.js';

/** Bytes of the end of an index. */
const INDEX_END = 8 << 20;
/** Milliseconds until the end of an index in use is read again: memory may have been short meanwhile. */
const INDEX_INTERVAL = 250;
/** Bytes of the tar that are read together, from a multiple of as many on. */
const BLOCK = 256 << 10;
/** Seconds after a read for which more is expected to be read of the same span. */
const RECENT = 60;

/** Bytes of a file that are worth reading. */
interface Range {
  file: number;
  from: number;
  to: number;
}

export class DiskReadAhead {
  readonly #layers: LayerTable;
  readonly #read: typeof willNeed;
  readonly #now: () => number;
  #begun: Range | undefined;

  /** @param read begins to read a part of an open file, without waiting for it */
  constructor(layers: LayerTable, read = willNeed, now = Date.now) {
    this.#layers = layers;
    this.#read = read;
    this.#now = now;
  }

  /**
   * Notes that the request at hand reads a file from its start. To be told before the use of the spans is noted.
   * @param segments what it reads, all of it present
   */
  began({ index, cache, used }: OpenLayer, [first]: readonly Segment[]): void {
    if (first?.kind !== 'data') return;
    const span = index.spanAt(first.tarOffset);
    if (this.#now() / 1000 - (used[span] ?? 0) > RECENT) return;
    const start = Math.floor(first.tarOffset / BLOCK) * BLOCK;
    this.#begun = {
      file: cache,
      from: Math.max(start, index.spanBounds[span] ?? 0),
      to: Math.min(start + BLOCK, index.spanBounds[span + 1] ?? 0),
    };
  }

  /** To be called once the request at hand, which was about layer `number`, has its answer. */
  answered(number: number): void {
    const begun = this.#begun;
    this.#begun = undefined;
    if (begun !== undefined) this.#read(begun.file, begun.from, begun.to - begun.from);
    const layer = this.#layers.opened(number);
    if (layer !== undefined && this.#now() >= layer.indexDue) this.#readIndex(layer);
  }

  #readIndex(layer: OpenLayer): void {
    layer.indexDue = this.#now() + INDEX_INTERVAL;
    const from = Math.max(0, layer.indexSize - INDEX_END);
    this.#read(layer.indexFile, from, layer.indexSize - from);
  }
}

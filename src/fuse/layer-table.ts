/**
 * The layers as one worker thread has them: each opened when something first asks for it, with a
 * database connection and a descriptor of its own.
 */

import { closeSync, fstatSync, openSync } from 'node:fs';
import { LayerIndex } from '../index/layer-index.js';
import type { ServedLayer } from './served-layer.js';

export interface OpenLayer {
  number: number;
  index: LayerIndex;
  /** A descriptor of the index's file, and its size in bytes. */
  indexFile: number;
  indexSize: number;
  /** When the end of the index is to be read ahead again, in milliseconds since the epoch. */
  indexDue: number;
  /** Descriptor of the span cache's data. */
  cache: number;
  cachePath: string;
  /** One byte a span; non-zero: present. */
  presence: Uint8Array;
  /** When each span was last read, in seconds since the epoch. */
  used: Uint32Array;
}

export class LayerTable {
  readonly #served = new Map<number, ServedLayer>();
  readonly #open = new Map<number, OpenLayer>();
  readonly #awaited: Set<number>;

  /** @param awaited layers that will be added, or removed, soon */
  constructor(awaited: Iterable<number> = []) {
    this.#awaited = new Set(awaited);
  }

  get hasAwaited(): boolean {
    return this.#awaited.size > 0;
  }

  /** Whether nothing can be said of the layer yet. */
  isAwaited(number: number): boolean {
    return this.#awaited.has(number);
  }

  add(layer: ServedLayer): void {
    this.#awaited.delete(layer.number);
    this.#served.set(layer.number, layer);
  }

  remove(number: number): void {
    this.#awaited.delete(number);
    this.#served.delete(number);
    const open = this.#open.get(number);
    this.#open.delete(number);
    if (open === undefined) return;
    open.index.close();
    closeSync(open.indexFile);
    closeSync(open.cache);
  }

  /** `undefined` for a layer that is not served. @throws what opening its index or cache throws */
  get(number: number): OpenLayer | undefined {
    return this.#open.get(number) ?? this.#openServed(number);
  }

  /** As {@link get}, for a layer that something has asked for before. */
  opened(number: number): OpenLayer | undefined {
    return this.#open.get(number);
  }

  has(number: number): boolean {
    return this.#served.has(number);
  }

  /** Numbers of all layers, ascending. */
  numbers(): number[] {
    return [...this.#served.keys()].sort((a, b) => a - b);
  }

  close(): void {
    for (const number of this.numbers()) this.remove(number);
  }

  #openServed(number: number): OpenLayer | undefined {
    const served = this.#served.get(number);
    if (served === undefined) return undefined;
    const index = LayerIndex.open(served.indexPath);
    const files: number[] = [];
    const openFile = (path: string): number => {
      const file = openSync(path, 'r');
      files.push(file);
      return file;
    };
    try {
      const indexFile = openFile(served.indexPath);
      const open: OpenLayer = {
        number,
        index,
        indexFile,
        indexSize: fstatSync(indexFile).size,
        indexDue: 0,
        cache: openFile(served.cachePath),
        cachePath: served.cachePath,
        presence: new Uint8Array(served.presence),
        used: new Uint32Array(served.used ?? new SharedArrayBuffer(0)),
      };
      this.#open.set(number, open);
      return open;
    } catch (error) {
      index.close();
      for (const file of files) closeSync(file);
      throw error;
    }
  }
}

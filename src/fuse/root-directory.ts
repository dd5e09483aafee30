/** The mount's own root: a directory whose entries are the layers' numbers. It is node 1 of layer 0. */

import { type DirectoryEntry, type Inode, rootIno } from '../index/layer-model.js';
import type { LayerTable } from './layer-table.js';

/** The high half of the root directory's node id; layers count from 1. */
export const rootLayer = 0;

const largestLayer = 2 ** 32 - 1;
const directoryMode = 0o40755;

export class RootDirectory {
  readonly #layers: LayerTable;
  readonly #seconds: number;

  /** @param time its modification time, in seconds */
  constructor(layers: LayerTable, time: number) {
    this.#layers = layers;
    this.#seconds = time;
  }

  inode(): Inode {
    return {
      ino: rootIno,
      mode: directoryMode,
      nlink: 2 + this.#layers.numbers().length,
      uid: 0,
      gid: 0,
      size: 0,
      mtimeSeconds: this.#seconds,
      mtimeNanoseconds: 0,
      rdevMajor: 0,
      rdevMinor: 0,
    };
  }

  /** The layer with this name, or `undefined` where none is served. */
  layer(name: Buffer): number | undefined {
    const number = layerNumber(name.toString('latin1'));
    return number !== undefined && this.#layers.has(number) ? number : undefined;
  }

  /**
   * Layers after position `after`; a layer's position is its number. A layer that cannot be opened is
   * listed too, as an empty directory: looking at it fails and is logged.
   */
  entries(after: number): DirectoryEntry[] {
    return this.#layers
      .numbers()
      .filter((number) => number > after)
      .map((number) => ({
        name: Buffer.from(String(number)),
        position: number,
        inode: this.#layerRoot(number),
      }));
  }

  #layerRoot(number: number): Inode {
    try {
      return this.#layers.get(number)?.index.inode(rootIno) ?? this.inode();
    } catch {
      return this.inode();
    }
  }
}

/** The layer number that `name` writes in decimal without leading zeros. */
export function layerNumber(name: string): number | undefined {
  if (!/^[1-9][0-9]{0,9}$/.test(name)) return undefined;
  const number = Number(name);
  return number <= largestLayer ? number : undefined;
}

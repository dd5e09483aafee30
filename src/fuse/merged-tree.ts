/**
 * The union of an image's layers as overlay would show it, computed from their indexes alone: for
 * mounts where the kernel's overlay is not to be had. Pure; costs one look-up in each layer that has
 * the directory.
 *
 * A node is a stack of inodes, topmost first: several only for a directory that several layers have.
 * A whiteout (character device 0:0) hides what is below, an opaque directory ends its stack.
 */

import { type Inode, blankInode, rootIno } from '../index/layer-model.js';

/** What of a LayerIndex the union is made from. */
export interface TreeLayer {
  readonly info: { inodeCount: number; hasXattrs: boolean };
  lookup(parent: number, name: Buffer): Inode | undefined;
  inode(ino: number): Inode | undefined;
  readdir(
    ino: number,
    after: number,
    limit: number,
  ): { name: Buffer; position: number; inode: Inode }[];
  xattr(ino: number, name: Buffer): Buffer | undefined;
  /** Whether a lower layer knows a directory's attributes better. */
  isImplicit(ino: number): boolean;
}

/** An inode of one layer; `layer` counts from the top. */
export interface LayerInode {
  layer: number;
  inode: Inode;
}

/** Topmost first, never empty. */
export type MergedNode = readonly [LayerInode, ...LayerInode[]];

const opaque = Buffer.from('trusted.overlay.opaque');
const typeMask = 0o170000;
const directoryType = 0o040000;
const characterType = 0o020000;
/** Entries taken from an index at a time. */
const page = 1024;

const emptyRoot: Inode = { ...blankInode, ino: rootIno, mode: directoryType | 0o755, nlink: 2 };

export class MergedTree {
  readonly #layers: readonly TreeLayer[];
  /** What each layer's inode numbers begin at, so that no two are the same. */
  readonly #firstNumber: number[] = [];
  readonly root: MergedNode;

  /** @param layers topmost first; of none the union is an empty directory */
  constructor(layers: readonly TreeLayer[]) {
    this.#layers = layers;
    let next = 0;
    for (const { info } of layers) {
      this.#firstNumber.push(next);
      next += info.inodeCount;
    }
    const roots = layers.flatMap((layer, at) => this.#part(at, layer.inode(rootIno)));
    const [first, ...others] = this.#untilOpaque(roots);
    this.root = [first ?? { layer: 0, inode: emptyRoot }, ...others];
  }

  lookup(parent: MergedNode, name: Buffer): MergedNode | undefined {
    const found: LayerInode[] = [];
    for (const { layer, inode } of parent) {
      if (!isDirectory(inode)) return undefined;
      const entry = this.#layers[layer]?.lookup(inode.ino, name);
      if (entry === undefined) continue;
      if (found.length > 0 && !isDirectory(entry)) break;
      if (isWhiteout(entry)) break;
      found.push({ layer, inode: entry });
      if (!isDirectory(entry)) break;
    }
    const [first, ...others] = this.#untilOpaque(found);
    return first === undefined ? undefined : [first, ...others];
  }

  /** The node at a path of names; `undefined` where there is none. */
  resolve(names: readonly Buffer[]): MergedNode | undefined {
    let node: MergedNode | undefined = this.root;
    for (const name of names) {
      if (node === undefined) return undefined;
      node = this.lookup(node, name);
    }
    return node;
  }

  /**
   * What is in a directory, without `.` and `..`; a name comes once. Of the inodes, only type and number
   * are those of the union.
   */
  entries(directory: MergedNode): { name: Buffer; inode: Inode }[] {
    const seen = new Set<string>();
    const entries: { name: Buffer; inode: Inode }[] = [];
    for (const { layer, inode: parent } of directory) {
      for (const { name, inode } of this.#entries(layer, parent.ino)) {
        const key = name.toString('latin1');
        if (seen.has(key)) continue;
        seen.add(key);
        if (isWhiteout(inode)) continue;
        entries.push({ name, inode: { ...inode, ino: this.#number({ layer, inode }) } });
      }
    }
    return entries;
  }

  /** Attributes; `ino` is unique in the union. A merged directory has one link, as on overlay. */
  attributes(node: MergedNode): Inode {
    const own =
      node.find(({ layer, inode }) => this.#layers[layer]?.isImplicit(inode.ino) !== true) ??
      node[0];
    const ino = this.#number(node[0]);
    return { ...own.inode, ino, nlink: node.length > 1 ? 1 : node[0].inode.nlink };
  }

  #number({ layer, inode }: LayerInode): number {
    return (this.#firstNumber[layer] ?? 0) + inode.ino;
  }

  *#entries(layer: number, ino: number): Generator<{ name: Buffer; inode: Inode }> {
    for (let after = 0; ;) {
      const entries = this.#layers[layer]?.readdir(ino, after, page) ?? [];
      yield* entries;
      const last = entries.at(-1);
      if (last === undefined || entries.length < page) return;
      after = last.position;
    }
  }

  #part(layer: number, inode: Inode | undefined): LayerInode[] {
    return inode === undefined ? [] : [{ layer, inode }];
  }

  #untilOpaque(parts: LayerInode[]): LayerInode[] {
    const end = parts.findIndex(({ layer, inode }) => this.#isOpaque(layer, inode));
    return end < 0 ? parts : parts.slice(0, end + 1);
  }

  #isOpaque(layer: number, inode: Inode): boolean {
    const tree = this.#layers[layer];
    if (tree === undefined || !tree.info.hasXattrs || !isDirectory(inode)) return false;
    return tree.xattr(inode.ino, opaque)?.toString() === 'y';
  }
}

function isDirectory({ mode }: Inode): boolean {
  return (mode & typeMask) === directoryType;
}

function isWhiteout({ mode, rdevMajor, rdevMinor }: Inode): boolean {
  return (mode & typeMask) === characterType && rdevMajor === 0 && rdevMinor === 0;
}

/** A growing tree in memory: for as many entries as most layers have, at a fraction of what a database costs each. */

import {
  type Child,
  type Extent,
  type GrowingTree,
  IMPLICIT_DIRECTORY,
  type NewNode,
  type NodeAttributes,
  checkLinks,
  groupHandedOn,
} from './growing-tree.js';
import { rootIno } from './layer-model.js';
import { isDirectory } from './modes.js';
import type { ByteString } from './tar-header.js';

/** What a node with its name takes, about, beside the text. */
const NODE_BYTES = 320;

/** A node of the tree, which changes as entries come. */
export class MemoryNode implements Child {
  ino: number;
  mode: number;
  nlink = 1;
  uid: number;
  gid: number;
  size: number;
  mtimeSeconds: number;
  mtimeNanoseconds: number;
  rdevMajor: number;
  rdevMinor: number;
  readonly dataOffset: number | null;
  readonly target: ByteString | null;
  isImplicit: boolean;
  /** Of a directory: the one that holds it, and its name there. */
  readonly parent: MemoryNode | undefined;
  readonly name: ByteString;
  /** Of a directory. */
  readonly children: Map<ByteString, MemoryNode> | undefined;
  xattrs: Map<ByteString, ByteString> | undefined = undefined;
  extents: readonly Extent[] = [];

  constructor(ino: number, node: NewNode, parent: MemoryNode | undefined, name: ByteString) {
    this.ino = ino;
    this.mode = node.mode;
    this.uid = node.uid;
    this.gid = node.gid;
    this.size = node.size;
    this.mtimeSeconds = node.mtimeSeconds;
    this.mtimeNanoseconds = node.mtimeNanoseconds;
    this.rdevMajor = node.rdevMajor;
    this.rdevMinor = node.rdevMinor;
    this.dataOffset = node.dataOffset;
    this.target = node.target;
    this.isImplicit = node.isImplicit;
    const holds = isDirectory(node.mode);
    this.parent = holds ? parent : undefined;
    this.name = holds ? name : '';
    this.children = holds ? new Map() : undefined;
  }
}

export class MemoryTree implements GrowingTree {
  /** By number, from 1 on. */
  #nodes: (MemoryNode | undefined)[] = [undefined];
  #nodeCount = 1;
  #entries = 0;
  #bytes = 0;

  constructor() {
    this.#nodes.push(new MemoryNode(rootIno, IMPLICIT_DIRECTORY, undefined, ''));
  }

  get nodeCount(): number {
    return this.#nodeCount;
  }

  /** Names in the tree, the root's not counted. */
  get entryCount(): number {
    return this.#entries;
  }

  /** The highest number that was given. */
  get lastIno(): number {
    return this.#nodes.length - 1;
  }

  /** What it takes of memory, about; what was removed counts, too. */
  get bytes(): number {
    return this.#bytes;
  }

  /** In order of their numbers. */
  *nodes(): Generator<MemoryNode, undefined> {
    for (const node of this.#nodes) if (node !== undefined) yield node;
  }

  find(parent: number, name: ByteString): MemoryNode | undefined {
    return this.#childrenOf(parent).get(name);
  }

  node(ino: number): MemoryNode {
    const node = this.#nodes[ino];
    if (node === undefined) throw new TypeError(`There is no inode ${ino}`);
    return node;
  }

  target(ino: number): ByteString {
    return this.node(ino).target ?? '';
  }

  inheritedGroup(directory: number): number {
    return groupHandedOn(this.node(directory));
  }

  add(parent: number, name: ByteString, node: NewNode): number {
    const ino = this.#nodes.length;
    const added = new MemoryNode(ino, node, this.node(parent), name);
    this.#nodes.push(added);
    this.#nodeCount += 1;
    this.#name(parent, name, added);
    this.#bytes += node.target?.length ?? 0;
    return ino;
  }

  link(parent: number, name: ByteString, ino: number): void {
    const node = this.node(ino);
    this.#name(parent, name, node);
    node.nlink += 1;
    checkLinks(node.nlink, name);
  }

  setAttributes(ino: number, attributes: NodeAttributes): void {
    const node = this.node(ino);
    node.mode = attributes.mode;
    node.uid = attributes.uid;
    node.gid = attributes.gid;
    node.mtimeSeconds = attributes.mtimeSeconds;
    node.mtimeNanoseconds = attributes.mtimeNanoseconds;
    node.isImplicit = false;
  }

  setXattr(ino: number, name: ByteString, value: ByteString): void {
    (this.node(ino).xattrs ??= new Map()).set(name, value);
    this.#bytes += NODE_BYTES + name.length + value.length;
  }

  setExtents(ino: number, extents: readonly Extent[]): void {
    this.node(ino).extents = extents;
    this.#bytes += NODE_BYTES * extents.length;
  }

  remove(parent: number, name: ByteString, child: Child): void {
    this.#childrenOf(parent).delete(name);
    const doomed = [this.node(child.ino)];
    for (let next = doomed.pop(); next !== undefined; next = doomed.pop()) {
      this.#entries -= 1;
      for (const below of next.children?.values() ?? []) doomed.push(below);
      next.nlink -= 1;
      if (next.nlink > 0) continue;
      this.#nodes[next.ino] = undefined;
      this.#nodeCount -= 1;
    }
  }

  /** Closes the gaps between the numbers and counts the links of directories; nothing can come after that. */
  finish(): this {
    this.#nodes = [undefined, ...this.nodes()];
    for (const [ino, node] of this.#nodes.entries()) if (node !== undefined) node.ino = ino;
    for (const node of this.nodes()) if (node.children !== undefined) node.nlink = 2;
    for (const { children, parent } of this.nodes())
      if (children !== undefined && parent !== undefined) parent.nlink += 1;
    return this;
  }

  #childrenOf(directory: number): Map<ByteString, MemoryNode> {
    const { children } = this.node(directory);
    if (children === undefined) throw new TypeError(`Inode ${directory} is no directory`);
    return children;
  }

  #name(parent: number, name: ByteString, node: MemoryNode): void {
    this.#childrenOf(parent).set(name, node);
    this.#entries += 1;
    this.#bytes += NODE_BYTES + name.length;
  }
}

/** The tree of a layer that is being indexed: in memory while it is small, and from some size on beside the index. */

import type BetterSqlite3 from 'better-sqlite3';
import type { Child, Extent, GrowingTree, NewNode, NodeAttributes } from './growing-tree.js';
import { MemoryTree } from './memory-tree.js';
import { StagingTree } from './staging.js';
import type { ByteString } from './tar-header.js';

/** Memory for a tree: some 45,000 entries. */
export const TREE_MEMORY = 16 << 20;

export class SpillingTree implements GrowingTree {
  readonly #database: BetterSqlite3.Database;
  readonly #memory: number;
  #tree: MemoryTree | StagingTree = new MemoryTree();

  /**
   * @param database the index; has the file for the staging tables attached as `staging`
   * @param memory bytes that the tree may take, about
   */
  constructor(database: BetterSqlite3.Database, memory: number) {
    this.#database = database;
    this.#memory = memory;
  }

  get nodeCount(): number {
    return this.#tree.nodeCount;
  }

  find(parent: number, name: ByteString): Child | undefined {
    return this.#tree.find(parent, name);
  }

  node(ino: number): Child {
    return this.#tree.node(ino);
  }

  target(ino: number): ByteString {
    return this.#tree.target(ino);
  }

  inheritedGroup(directory: number): number {
    return this.#tree.inheritedGroup(directory);
  }

  add(parent: number, name: ByteString, node: NewNode): number {
    return this.#growing().add(parent, name, node);
  }

  link(parent: number, name: ByteString, ino: number): void {
    this.#growing().link(parent, name, ino);
  }

  setAttributes(ino: number, attributes: NodeAttributes): void {
    this.#tree.setAttributes(ino, attributes);
  }

  setXattr(ino: number, name: ByteString, value: ByteString): void {
    this.#growing().setXattr(ino, name, value);
  }

  setExtents(ino: number, extents: readonly Extent[]): void {
    this.#growing().setExtents(ino, extents);
  }

  remove(parent: number, name: ByteString, child: Child): void {
    this.#tree.remove(parent, name, child);
  }

  /** The tree as it is stored. */
  get stored(): MemoryTree | StagingTree {
    return this.#tree;
  }

  /** The tree that takes something more. */
  #growing(): GrowingTree {
    if (this.#tree instanceof MemoryTree && this.#tree.bytes > this.#memory)
      this.#tree = new StagingTree(this.#database, this.#tree);
    return this.#tree;
  }
}

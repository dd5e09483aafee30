/**
 * A growing tree that is large, in SQLite tables beside the index so that a million entries stay flat in
 * memory. All SQL about the growing tree is here.
 */

import type BetterSqlite3 from 'better-sqlite3';
import { toBytes } from './byte-path.js';
import {
  type Child,
  type Extent,
  type GrowingTree,
  type NewNode,
  type NodeAttributes,
  checkLinks,
  groupHandedOn,
} from './growing-tree.js';
import type { MemoryNode, MemoryTree } from './memory-tree.js';
import { isDirectory } from './modes.js';
import type { ByteString } from './tar-header.js';

const TABLES = `
CREATE TABLE staging.node(ino INTEGER PRIMARY KEY, mode INTEGER, nlink INTEGER, uid INTEGER, gid INTEGER, size INTEGER,
  mtime INTEGER, mtime_nsec INTEGER, rdev_major INTEGER, rdev_minor INTEGER, parent INTEGER, data_offset INTEGER, target BLOB,
  implicit INTEGER, name BLOB) STRICT;
CREATE TABLE staging.child(parent INTEGER, name BLOB, ino INTEGER, PRIMARY KEY(parent, name)) STRICT, WITHOUT ROWID;
CREATE TABLE staging.extent(ino INTEGER, file_offset INTEGER, tar_offset INTEGER, length INTEGER,
  PRIMARY KEY(ino, file_offset)) STRICT, WITHOUT ROWID;
CREATE TABLE staging.xattr(ino INTEGER, name BLOB, value BLOB, PRIMARY KEY(ino, name)) STRICT, WITHOUT ROWID;
`;

export class StagingTree implements GrowingTree {
  readonly #sql: Statements;
  #lastIno: number;
  #nodes: number;

  /**
   * Goes on with what `tree` has.
   * @param database has the file for the staging tables attached as `staging`
   */
  constructor(database: BetterSqlite3.Database, tree: MemoryTree) {
    database.exec(TABLES);
    this.#sql = prepare(database);
    this.#lastIno = tree.lastIno;
    this.#nodes = tree.nodeCount;
    for (const node of tree.nodes()) this.#take(node);
  }

  get nodeCount(): number {
    return this.#nodes;
  }

  /** Names in the tree, the root's not counted. */
  get entryCount(): number {
    return this.#sql.entries.get() as number;
  }

  /** Whether the inode numbers are 1 to {@link nodeCount}. */
  get isDense(): boolean {
    return this.#nodes === this.#lastIno;
  }

  find(parent: number, name: ByteString): Child | undefined {
    const row = this.#sql.find.get(parent, toBytes(name)) as [number, number] | undefined;
    return row === undefined ? undefined : { ino: row[0], mode: row[1] };
  }

  node(ino: number): Child {
    const [mode] = this.#sql.group.get(ino) as [number, number];
    return { ino, mode };
  }

  target(ino: number): ByteString {
    const row = this.#sql.target.get(ino) as [Buffer | null] | undefined;
    return row?.[0]?.toString('latin1') ?? '';
  }

  inheritedGroup(directory: number): number {
    const [mode, gid] = this.#sql.group.get(directory) as [number, number];
    return groupHandedOn({ mode, gid });
  }

  add(parent: number, name: ByteString, node: NewNode): number {
    const ino = ++this.#lastIno;
    this.#nodes += 1;
    this.#insert(ino, 1, node, isDirectory(node.mode) ? { parent, name } : undefined);
    this.#sql.addChild.run(parent, toBytes(name), ino);
    return ino;
  }

  link(parent: number, name: ByteString, ino: number): void {
    this.#sql.addChild.run(parent, toBytes(name), ino);
    this.#sql.changeLinks.run(1, ino);
    const row = this.#sql.links.get(ino) as [number] | undefined;
    checkLinks(row?.[0] ?? 0, name);
  }

  setAttributes(ino: number, attributes: NodeAttributes): void {
    const { mode, uid, gid, mtimeSeconds, mtimeNanoseconds } = attributes;
    this.#sql.setAttributes.run(mode, uid, gid, mtimeSeconds, mtimeNanoseconds, ino);
  }

  setXattr(ino: number, name: ByteString, value: ByteString): void {
    this.#sql.setXattr.run(ino, toBytes(name), toBytes(value));
  }

  setExtents(ino: number, extents: readonly Extent[]): void {
    for (const { fileOffset, tarOffset, length } of extents)
      this.#sql.addExtent.run(ino, fileOffset, tarOffset, length);
  }

  remove(parent: number, name: ByteString, child: Child): void {
    this.#sql.removeChild.run(parent, toBytes(name));
    const doomed: Child[] = [child];
    for (let next = doomed.pop(); next !== undefined; next = doomed.pop()) {
      if (isDirectory(next.mode)) {
        for (const row of this.#sql.children.all(next.ino) as [number, number][]) {
          doomed.push({ ino: row[0], mode: row[1] });
        }
        this.#sql.removeChildren.run(next.ino);
        this.#removeNode(next.ino);
      } else {
        this.#unlink(next.ino);
      }
    }
  }

  /** With the names that it has as a directory. */
  #take(node: MemoryNode): void {
    const { ino, children } = node;
    const place = children && { parent: node.parent?.ino ?? null, name: node.name };
    this.#insert(ino, node.nlink, node, place);
    for (const [name, child] of children ?? [])
      this.#sql.addChild.run(ino, toBytes(name), child.ino);
    for (const [name, value] of node.xattrs ?? []) this.setXattr(ino, name, value);
    this.setExtents(ino, node.extents);
  }

  /** @param place of a directory, which has just one */
  #insert(
    ino: number,
    nlink: number,
    node: NewNode,
    place: { parent: number | null; name: ByteString } | undefined,
  ): void {
    this.#sql.addNode.run(
      ino,
      node.mode,
      nlink,
      node.uid,
      node.gid,
      node.size,
      node.mtimeSeconds,
      node.mtimeNanoseconds,
      node.rdevMajor,
      node.rdevMinor,
      place?.parent ?? null,
      node.dataOffset,
      node.target === null ? null : toBytes(node.target),
      node.isImplicit ? 1 : 0,
      place === undefined ? null : toBytes(place.name),
    );
  }

  #unlink(ino: number): void {
    this.#sql.changeLinks.run(-1, ino);
    const row = this.#sql.links.get(ino) as [number] | undefined;
    if (row?.[0] === 0) this.#removeNode(ino);
  }

  #removeNode(ino: number): void {
    this.#sql.removeXattrs.run(ino);
    this.#sql.removeExtents.run(ino);
    this.#sql.removeNode.run(ino);
    this.#nodes -= 1;
  }
}

type Statements = ReturnType<typeof prepare>;

function prepare(database: BetterSqlite3.Database) {
  const sql = (text: string) => database.prepare(text);
  return {
    entries: sql('SELECT count(*) FROM staging.child').pluck(),
    find: sql(
      'SELECT c.ino, n.mode FROM staging.child c CROSS JOIN staging.node n ON n.ino = c.ino WHERE c.parent = ? AND c.name = ?',
    ).raw(),
    group: sql('SELECT mode, gid FROM staging.node WHERE ino = ?').raw(),
    target: sql('SELECT target FROM staging.node WHERE ino = ?').raw(),
    addNode: sql('INSERT INTO staging.node VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)'),
    addChild: sql('INSERT INTO staging.child VALUES (?, ?, ?)'),
    changeLinks: sql('UPDATE staging.node SET nlink = nlink + ? WHERE ino = ?'),
    links: sql('SELECT nlink FROM staging.node WHERE ino = ?').raw(),
    setAttributes: sql(
      'UPDATE staging.node SET mode = ?, uid = ?, gid = ?, mtime = ?, mtime_nsec = ?, implicit = 0 WHERE ino = ?',
    ),
    setXattr: sql('INSERT OR REPLACE INTO staging.xattr VALUES (?, ?, ?)'),
    children: sql(
      'SELECT c.ino, n.mode FROM staging.child c CROSS JOIN staging.node n ON n.ino = c.ino WHERE c.parent = ?',
    ).raw(),
    removeChild: sql('DELETE FROM staging.child WHERE parent = ? AND name = ?'),
    removeChildren: sql('DELETE FROM staging.child WHERE parent = ?'),
    removeXattrs: sql('DELETE FROM staging.xattr WHERE ino = ?'),
    addExtent: sql('INSERT INTO staging.extent VALUES (?, ?, ?, ?)'),
    removeExtents: sql('DELETE FROM staging.extent WHERE ino = ?'),
    removeNode: sql('DELETE FROM staging.node WHERE ino = ?'),
  };
}

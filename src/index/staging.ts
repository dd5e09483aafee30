/**
 * The tree while it grows, in SQLite tables beside the index so that a million entries stay flat in
 * memory. All SQL about the growing tree is here. Inode numbers are given in order of appearance; those
 * of replaced entries leave gaps, which the copy into the index closes.
 */

import type BetterSqlite3 from 'better-sqlite3';
import { toBytes } from './byte-path.js';
import { rootIno } from './layer-model.js';
import { S_IF, S_ISGID, isDirectory } from './modes.js';
import type { StoredPiece } from './sparse.js';
import { type ByteString, printable } from './tar-header.js';
import { SiphonError } from '../common/errors.js';

/** What an entry says of its inode. */
export interface NodeAttributes {
  mode: number;
  uid: number;
  gid: number;
  mtimeSeconds: number;
  mtimeNanoseconds: number;
}

export interface NewNode extends NodeAttributes {
  size: number;
  devMajor: number;
  devMinor: number;
  /** Tar offset of a file's content; none where it is sparse. */
  dataOffset: number | null;
  /** Of a symlink. */
  target: ByteString | null;
  /** Whether it is a directory that no entry of the tar describes. */
  isImplicit: boolean;
}

export interface Child {
  ino: number;
  mode: number;
}

/** A directory that nothing describes: what containerd creates for missing parents. */
export const IMPLICIT_DIRECTORY: NewNode = {
  mode: S_IF.DIR | 0o755,
  uid: 0,
  gid: 0,
  mtimeSeconds: 0,
  mtimeNanoseconds: 0,
  size: 0,
  devMajor: 0,
  devMinor: 0,
  dataOffset: null,
  target: null,
  isImplicit: true,
};

/** The kernel counts links in 32 bits and file systems allow 65,000; more is an attack. */
const MAX_LINKS = 1_000_000;

const TABLES = `
CREATE TABLE staging.node(ino INTEGER PRIMARY KEY, mode INTEGER, nlink INTEGER, uid INTEGER, gid INTEGER, size INTEGER,
  mtime INTEGER, mtime_nsec INTEGER, rdev_major INTEGER, rdev_minor INTEGER, parent INTEGER, data_offset INTEGER, target BLOB,
  implicit INTEGER, name BLOB) STRICT;
CREATE TABLE staging.child(parent INTEGER, name BLOB, ino INTEGER, PRIMARY KEY(parent, name)) STRICT, WITHOUT ROWID;
CREATE TABLE staging.extent(ino INTEGER, file_offset INTEGER, tar_offset INTEGER, length INTEGER,
  PRIMARY KEY(ino, file_offset)) STRICT, WITHOUT ROWID;
CREATE TABLE staging.xattr(ino INTEGER, name BLOB, value BLOB, PRIMARY KEY(ino, name)) STRICT, WITHOUT ROWID;
`;

export class StagingTree {
  readonly #database: BetterSqlite3.Database;
  readonly #sql: Statements;
  #lastIno = 0;
  #nodes = 0;

  /** `database` has the file for the staging tables attached as `staging`. */
  constructor(database: BetterSqlite3.Database) {
    this.#database = database;
    database.exec(TABLES);
    this.#sql = prepare(database);
    const root = this.#newNode(IMPLICIT_DIRECTORY, { parent: null, name: '' });
    if (root !== rootIno) throw new Error(`The root is inode ${root}, expected ${rootIno}`);
  }

  /** How many inodes there are; also the count of distinct numbers the index will have. */
  get nodeCount(): number {
    return this.#nodes;
  }

  /** Whether the inode numbers are 1 to {@link nodeCount}. */
  get isDense(): boolean {
    return this.#nodes === this.#lastIno;
  }

  find(parent: number, name: ByteString): Child | undefined {
    const row = this.#sql.find.get(parent, toBytes(name)) as [number, number] | undefined;
    return row === undefined ? undefined : { ino: row[0], mode: row[1] };
  }

  /** @throws TypeError where there is none */
  node(ino: number): Child {
    const [mode] = this.#sql.group.get(ino) as [number, number];
    return { ino, mode };
  }

  target(ino: number): ByteString {
    const row = this.#sql.target.get(ino) as [Buffer | null] | undefined;
    return row?.[0]?.toString('latin1') ?? '';
  }

  /** Group of what is made in a directory: that of root, unless the directory hands on its own. */
  inheritedGroup(directory: number): number {
    const [mode, gid] = this.#sql.group.get(directory) as [number, number];
    return (mode & S_ISGID) === 0 ? 0 : gid;
  }

  /** Adds a new inode under a name that must be free; returns its number. */
  add(parent: number, name: ByteString, node: NewNode): number {
    const ino = this.#newNode(node, isDirectory(node.mode) ? { parent, name } : undefined);
    this.#sql.addChild.run(parent, toBytes(name), ino);
    return ino;
  }

  /** Adds a further name of an inode that is no directory. */
  link(parent: number, name: ByteString, ino: number): void {
    this.#sql.addChild.run(parent, toBytes(name), ino);
    this.#sql.changeLinks.run(1, ino);
    const row = this.#sql.links.get(ino) as [number] | undefined;
    if ((row?.[0] ?? 0) > MAX_LINKS) {
      throw new SiphonError(
        'invalid',
        `Cannot link "${printable(name)}": its file has more than ${MAX_LINKS} names`,
      );
    }
  }

  setAttributes(ino: number, attributes: NodeAttributes): void {
    const { mode, uid, gid, mtimeSeconds, mtimeNanoseconds } = attributes;
    this.#sql.setAttributes.run(mode, uid, gid, mtimeSeconds, mtimeNanoseconds, ino);
  }

  setXattr(ino: number, name: ByteString, value: ByteString): void {
    this.#sql.setXattr.run(ino, toBytes(name), toBytes(value));
  }

  /** Says where the stored pieces of a sparse file begin: one after another from `tarOffset` on. */
  setExtents(ino: number, pieces: readonly StoredPiece[], tarOffset: number): void {
    let at = tarOffset;
    for (const { offset, length } of pieces) {
      this.#sql.addExtent.run(ino, offset, at, length);
      at += length;
    }
  }

  /** Takes a name away, with everything below it; inodes without a name go. */
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

  /** Names in the tree, the root's not counted. */
  countEntries(): number {
    return this.#database.prepare('SELECT count(*) FROM staging.child').pluck().get() as number;
  }

  /** @param place of a directory, which has just one */
  #newNode(node: NewNode, place: { parent: number | null; name: ByteString } | undefined): number {
    const ino = ++this.#lastIno;
    this.#nodes += 1;
    this.#sql.addNode.run(
      ino,
      node.mode,
      node.uid,
      node.gid,
      node.size,
      node.mtimeSeconds,
      node.mtimeNanoseconds,
      node.devMajor,
      node.devMinor,
      place?.parent ?? null,
      node.dataOffset,
      node.target === null ? null : toBytes(node.target),
      node.isImplicit ? 1 : 0,
      place === undefined ? null : toBytes(place.name),
    );
    return ino;
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
    find: sql(
      'SELECT c.ino, n.mode FROM staging.child c CROSS JOIN staging.node n ON n.ino = c.ino WHERE c.parent = ? AND c.name = ?',
    ).raw(),
    group: sql('SELECT mode, gid FROM staging.node WHERE ino = ?').raw(),
    target: sql('SELECT target FROM staging.node WHERE ino = ?').raw(),
    addNode: sql('INSERT INTO staging.node VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)'),
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

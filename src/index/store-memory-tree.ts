/** Writes a tree that lies in memory, and is finished, into the index, in the index's order. */

import type BetterSqlite3 from 'better-sqlite3';
import { MAX_NAME, MAX_PATH, toBytes } from './byte-path.js';
import { rootIno } from './layer-model.js';
import { MAX_PAGE } from './listing-page.js';
import { ListingWriter } from './listing-writer.js';
import type { MemoryNode, MemoryTree } from './memory-tree.js';
import { PageFile } from './sqlite/page-file.js';
import { RecordWriter } from './sqlite/record.js';
import { TableFiller } from './sqlite/table-filler.js';
import type { ByteString } from './tar-header.js';

/** Of the tables that have a row for each node or name, which are filled without SQLite: where they begin. */
type RootPages = Record<'inode' | 'entry' | 'listing', number>;

/** Bytes of a row beside its text. */
const NUMBERS = 128;

/** Stores all of the tree but what {@link fillTables} does. */
export function storeRareRows(tree: MemoryTree, database: BetterSqlite3.Database): void {
  storeDetails(tree, database);
  storeImplicit(tree, database);
}

export function rootPages(database: BetterSqlite3.Database): RootPages {
  const query = database.prepare('SELECT rootpage FROM main.sqlite_schema WHERE name = ?').pluck();
  const of = (name: keyof RootPages): number => query.get(name) as number;
  return { inode: of('inode'), entry: of('entry'), listing: of('listing') };
}

/** Fills the tables of inodes, entries and listings of the index at `path`, which is closed. */
export function fillTables(tree: MemoryTree, path: string, roots: RootPages): void {
  using file = new PageFile(path);
  fillInodes(tree, new TableFiller(file, roots.inode, 'numbered'));
  const entries = new TableFiller(file, roots.entry, 'keyed');
  fillEntries(tree, entries, new TableFiller(file, roots.listing, 'numbered'));
  file.finish();
}

function fillInodes(tree: MemoryTree, inodes: TableFiller): void {
  const row = new RecordWriter(MAX_PATH + NUMBERS);
  for (const node of tree.nodes()) {
    row
      .begin()
      .null()
      .integer(node.mode)
      .integer(node.nlink)
      .integer(node.uid)
      .integer(node.gid)
      .integer(node.size)
      .integer(node.mtimeSeconds)
      .integer(node.mtimeNanoseconds)
      .integer(node.rdevMajor)
      .integer(node.rdevMinor);
    if (node.children === undefined) row.null();
    else row.integer(parentOf(node));
    if (node.dataOffset === null) row.null();
    else row.integer(node.dataOffset);
    if (node.target === null) row.null();
    else row.text(node.target);
    inodes.add(row, node.ino);
  }
  inodes.finish();
}

/** The names of each directory, and its listing. */
function fillEntries(tree: MemoryTree, entries: TableFiller, listing: TableFiller): void {
  const row = new RecordWriter(MAX_NAME + NUMBERS);
  const page = new RecordWriter(MAX_PAGE + NUMBERS);
  const pages = new ListingWriter(
    (number, bytes) => listing.add(page.begin().null().blob(bytes), number),
    (ino) => parentOf(tree.node(ino)),
  );
  for (const { ino, children } of tree.nodes()) {
    for (const [name, node] of inOrder(children)) {
      entries.add(row.begin().integer(ino).text(name).integer(node.ino));
      pages.add(ino, toBytes(name), node);
    }
  }
  pages.finish();
  entries.finish();
  listing.finish();
}

/** What few nodes have. */
function storeDetails(tree: MemoryTree, database: BetterSqlite3.Database): void {
  const addXattr = database.prepare('INSERT INTO main.xattr VALUES (?, ?, ?)');
  const addExtent = database.prepare('INSERT INTO main.extent VALUES (?, ?, ?, ?)');
  for (const { ino, xattrs, extents } of tree.nodes()) {
    for (const [name, value] of inOrder(xattrs)) addXattr.run(ino, toBytes(name), toBytes(value));
    for (const { fileOffset, tarOffset, length } of extents)
      addExtent.run(ino, fileOffset, tarOffset, length);
  }
}

/** The directories that no entry describes, and all above them. */
function storeImplicit(tree: MemoryTree, database: BetterSqlite3.Database): void {
  const leading = new Set<MemoryNode>();
  for (const node of tree.nodes()) {
    if (!node.isImplicit) continue;
    for (let at: MemoryNode | undefined = node; at && !leading.has(at); at = at.parent)
      leading.add(at);
  }
  const insert = database.prepare('INSERT INTO main.implicit VALUES (?, ?, ?)');
  for (const { ino, name, isImplicit } of [...leading].toSorted((a, b) => a.ino - b.ino))
    insert.run(ino, toBytes(name), isImplicit ? 0 : 1);
}

/** The root is its own. */
function parentOf(directory: MemoryNode): number {
  return directory.parent?.ino ?? rootIno;
}

/** By the bytes of the names, each of which is a character. */
function inOrder<T>(of: Map<ByteString, T> | undefined): [ByteString, T][] {
  return of === undefined ? [] : [...of].toSorted(([a], [b]) => (a < b ? -1 : 1));
}

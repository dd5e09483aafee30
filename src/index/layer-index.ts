/**
 * A layer's index, open for reading: the file tree, where each file's bytes are in the tar, and where
 * decoding can start. Looked up in place, so memory stays flat at any number of files; only the table of
 * spans is held. Each thread opens its own.
 *
 * The file is believed only as far as it is checked: its kind, schema and spans when opened, each row as it is
 * used. Bytes are not covered: they are checked against the span's digest when they are fetched.
 */

import type BetterSqlite3 from 'better-sqlite3';
import type { SiphonError } from '../common/errors.js';
import { type ExpectedLayer, checkExpected } from './expected-layer.js';
import { MAX_NAME, MAX_PATH } from './byte-path.js';
import { ImplicitPaths } from './implicit-paths.js';
import {
  IndexDamage,
  bytesOf,
  damagedIndex,
  integerOf,
  nameOfIndex,
  shown,
  unpackWindow,
} from './index-damage.js';
import { openIndexFile } from './index-file.js';
import { type IndexStatements, type RowStatement, prepareStatements } from './index-statements.js';
import { readInfo } from './layer-row.js';
import {
  type DirectoryEntry,
  type Inode,
  type LayerInfo,
  type Segment,
  type Span,
  rootIno,
} from './layer-model.js';
import type { ByteString } from './tar-header.js';
import { isDirectory, isRegular } from './modes.js';
import { type InodeRow, toInode } from './inode-row.js';
import { type ListedEntry, ListingCursor, MAX_PAGE } from './listing-page.js';
import { PAGE_ENTRIES, listingNumber } from './schema.js';
import { SpanTable } from './span-table.js';

export type { ExpectedLayer } from './expected-layer.js';
export type { ListedEntry } from './listing-page.js';
export { rootIno } from './layer-model.js';
export type { DirectoryEntry, Inode, LayerInfo, Segment, Span } from './layer-model.js';

/** A directory without an entry in the tar. */
export interface ImplicitDirectory {
  ino: number;
  /** From the root, without a leading slash; the root is empty. */
  path: ByteString;
}

/** XATTR_SIZE_MAX of Linux. */
const MAX_XATTR = 65536;
const MAX_INO = 2 ** 32 - 1;

export class LayerIndex implements Disposable {
  readonly info: LayerInfo;
  /** For messages: the file and its layer. */
  readonly name: string;
  readonly #database: BetterSqlite3.Database;
  readonly #sql: IndexStatements;
  readonly #spans: SpanTable;
  #page: { number: number; bytes: Buffer | undefined } = { number: -1, bytes: undefined };

  /**
   * Opens the index at `path`.
   * @throws SiphonError `not-found`; `corrupt` where it is damaged or describes another layer than
   * `expected`; `unsupported` where its format is of another version
   */
  static open(path: string, expected: ExpectedLayer = {}): LayerIndex {
    const database = openIndexFile(path);
    try {
      return new LayerIndex(path, database, expected);
    } catch (error) {
      database.close();
      throw damagedIndex(nameOfIndex(path, expected.blobDigest), error);
    }
  }

  /** Use {@link open}. */
  private constructor(path: string, database: BetterSqlite3.Database, expected: ExpectedLayer) {
    this.#database = database;
    this.info = readInfo(database);
    this.name = nameOfIndex(path, this.info.blobDigest);
    checkExpected(this.info, expected, 'use index of');
    this.#spans = this.#checked(() => new SpanTable(database, this.info));
    this.#sql = prepareStatements(database);
    const root = this.inode(rootIno);
    if (root === undefined || !isDirectory(root.mode))
      throw this.damage('it has no root directory');
  }

  /** Where each span begins in the tar; the last of its `spanCount + 1` values is the tar's size. */
  get spanBounds(): Float64Array {
    return this.#spans.bounds;
  }

  /** The inode called `name` in the directory `parent`. */
  lookup(parent: number, name: Buffer): Inode | undefined {
    return this.#inode(this.#get(this.#sql.lookup, parent, name));
  }

  inode(ino: number): Inode | undefined {
    return this.#inode(this.#get(this.#sql.inode, ino));
  }

  /** The directory that holds the directory `ino`, `undefined` where that is none; the root holds itself. */
  parent(ino: number): number | undefined {
    // Who wants to know is often about to list the directory, whose page is then at hand.
    const page = this.#listing(listingNumber(ino, 0));
    if (page !== undefined) return this.#inListing(ino, () => new ListingCursor(page).parent);
    const parent = this.#get(this.#sql.parent, ino)?.[0] ?? undefined;
    if (parent === undefined) return undefined;
    return this.#checked(() => integerOf(`the parent of inode ${ino}`, parent, 1, MAX_INO));
  }

  /**
   * Shows the entries of the directory `ino` in the order of their positions, from the first behind
   * position `after` on, until `visit` returns false. Neither `.` nor `..`. Costs the same at any position.
   * @param visit gets the same object for many entries
   */
  visitEntries(
    ino: number,
    after: number,
    visit: (entry: ListedEntry, position: number) => boolean,
  ): void {
    this.#inListing(ino, () => {
      let position = after;
      for (let wanted = true; wanted;) {
        const page = this.#listing(listingNumber(ino, Math.floor(position / PAGE_ENTRIES)));
        if (page === undefined) return;
        const cursor = new ListingCursor(page);
        const isLast = cursor.left < PAGE_ENTRIES;
        for (let skipped = position % PAGE_ENTRIES; skipped > 0 && cursor.next(); skipped--);
        while (wanted && cursor.next()) wanted = visit(cursor, ++position);
        if (isLast) return;
      }
    });
  }

  /** At most `limit` entries of the directory `ino`, as {@link visitEntries} shows them. */
  readdir(ino: number, after: number, limit: number): DirectoryEntry[] {
    const entries: DirectoryEntry[] = [];
    this.visitEntries(ino, after, (entry, position) => {
      entries.push({ name: nameIn(ino, entry.name()), position, inode: entry.inode() });
      return entries.length < limit;
    });
    return entries;
  }

  /** Target of the symlink `ino`; `undefined` where it is none. */
  readlink(ino: number): Buffer | undefined {
    const target = this.#get(this.#sql.target, ino)?.[0] ?? undefined;
    if (target === undefined) return undefined;
    return this.#checked(() => bytesOf(`the target of inode ${ino}`, target, 1, MAX_PATH - 1));
  }

  xattrNames(ino: number): Buffer[] {
    if (!this.info.hasXattrs) return [];
    const rows = this.#all(this.#sql.xattrNames, ino);
    return this.#checked(() =>
      rows.map(([name]) => bytesOf(`the name of an xattr of inode ${ino}`, name, 1, MAX_NAME)),
    );
  }

  xattr(ino: number, name: Buffer): Buffer | undefined {
    if (!this.info.hasXattrs) return undefined;
    const row = this.#get(this.#sql.xattr, ino, name);
    return row && this.#checked(() => bytesOf(`an xattr of inode ${ino}`, row[0], 0, MAX_XATTR));
  }

  /** Where the bytes `offset` to `offset + length` of the file `ino` are; clipped at its end. */
  segments(ino: number, offset: number, length: number): Segment[] {
    const row = this.#get(this.#sql.content, ino);
    if (row === undefined) return [];
    return this.#checked(() => {
      const [mode, size, dataOffset] = row;
      if (!isRegular(integerOf(`the mode of inode ${ino}`, mode))) return [];
      const end = Math.min(offset + length, integerOf(`the size of inode ${ino}`, size));
      if (end <= offset) return [];
      if (dataOffset === null) return this.#sparseSegments(ino, offset, end);
      const start = integerOf(`the data_offset of inode ${ino}`, dataOffset);
      return [this.#dataSegment(ino, start + offset, end - offset)];
    });
  }

  /** The span that holds the byte at `tarOffset` of the tar, which must have that byte. */
  spanAt(tarOffset: number): number {
    return this.#spans.at(tarOffset);
  }

  /** @param number 0 to `spanCount - 1` */
  span(number: number): Span {
    if (!Number.isInteger(number) || number < 0 || number >= this.#spans.count) {
      throw new RangeError(`Cannot read span ${number}: expected 0 to ${this.#spans.count - 1}`);
    }
    return this.#spans.span(number);
  }

  /** Whether span `number` is decoded by itself, without anything before it; else with its {@link group}. */
  hasOwnEntry(number: number): boolean {
    return this.#spans.hasOwnEntry(number);
  }

  /** The spans that share the entry point of span `number`, in order; often that span alone. */
  group(number: number): Span[] {
    return this.#spans.group(number);
  }

  /** The decoded bytes before a span's entry point, as its decoder needs them; at most 32 KiB. */
  window(number: number): Buffer | undefined {
    const row = this.#get(this.#sql.window, this.#spans.groupStart(number));
    return row && this.#checked(() => unpackWindow(number, row[0]));
  }

  /**
   * Directories that no entry of the tar describes, parents first. Where a lower layer has such a
   * directory, its attributes count; here they are 0755, root and the epoch.
   */
  *implicitDirectories(): Generator<ImplicitDirectory> {
    const paths = new ImplicitPaths((ino) => this.#get(this.#sql.implicitName, ino));
    for (let last = 0; ;) {
      const rows = this.#all(this.#sql.implicit, last);
      for (const [value] of rows) {
        last = this.#checked(() =>
          integerOf('the number of an implicit directory', value, 1, MAX_INO),
        );
        yield { ino: last, path: this.#checked(() => paths.of(last)) };
      }
      if (rows.length === 0) return;
    }
  }

  /** Whether a directory is one of {@link implicitDirectories}. */
  isImplicit(ino: number): boolean {
    return this.#get(this.#sql.isImplicit, ino) !== undefined;
  }

  /** An error that says what is wrong with this index. */
  damage(why: string): SiphonError {
    return damagedIndex(this.name, new IndexDamage(why));
  }

  close(): void {
    this.#database.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #sparseSegments(ino: number, offset: number, end: number): Segment[] {
    const segments: Segment[] = [];
    let at = offset;
    const extents = this.#all(this.#sql.extents, ino, end, ino, offset);
    for (const extent of extents) {
      const [start = 0, tarOffset = 0, length = 0] = extent.map((value) =>
        integerOf(`a part of an extent of inode ${ino}`, value),
      );
      const from = Math.max(start, at);
      const to = Math.min(start + length, end);
      if (to <= from) continue;
      if (from > at) segments.push({ kind: 'hole', length: from - at });
      segments.push(this.#dataSegment(ino, tarOffset + from - start, to - from));
      at = to;
    }
    if (at < end) segments.push({ kind: 'hole', length: end - at });
    return segments;
  }

  #dataSegment(ino: number, tarOffset: number, length: number): Segment {
    if (!(tarOffset >= 0 && tarOffset + length <= this.info.tarSize)) {
      throw new IndexDamage(
        `the content of inode ${ino} lies at bytes ${tarOffset} to ${tarOffset + length} of the tar, expected ones within its ${this.info.tarSize}`,
      );
    }
    return { kind: 'data', tarOffset, length };
  }

  /** A row of the listing table; the last one is remembered. */
  #listing(number: number): Buffer | undefined {
    if (number !== this.#page.number) {
      const row = this.#get(this.#sql.listing, number);
      const bytes =
        row && this.#checked(() => bytesOf(`page ${number} of the listings`, row[0], 1, MAX_PAGE));
      this.#page = { number, bytes };
    }
    return this.#page.bytes;
  }

  #inode(row: InodeRow | undefined): Inode | undefined {
    return row && this.#checked(() => toInode(row));
  }

  /** What reaches beyond a page is found by the bounds of its memory. */
  #inListing<T>(ino: number, read: () => T): T {
    return this.#checked(() => {
      try {
        return read();
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        throw new IndexDamage(
          `the listing of directory ${ino} is damaged (${error.message}), expected whole entries`,
        );
      }
    });
  }

  #checked<T>(read: () => T): T {
    try {
      return read();
    } catch (error) {
      throw damagedIndex(this.name, error);
    }
  }

  #get<Row>(statement: RowStatement<Row>, ...values: unknown[]): Row | undefined {
    return this.#checked(() => statement.get(...values));
  }

  #all<Row>(statement: RowStatement<Row>, ...values: unknown[]): Row[] {
    return this.#checked(() => statement.all(...values));
  }
}

/** A name that a directory lists, as anything but the kernel needs it checked. */
function nameIn(directory: number, name: Buffer): Buffer {
  const isName = name.length > 0 && !name.includes('/') && !name.includes(0);
  if (isName && !IMPOSSIBLE_NAMES.has(name.toString('latin1'))) return name;
  throw new IndexDamage(
    `directory ${directory} lists the name ${shown(name.toString('latin1'))}, expected one that a file can have`,
  );
}

const IMPOSSIBLE_NAMES: ReadonlySet<string> = new Set(['.', '..']);

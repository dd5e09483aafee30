/**
 * A layer's index, open for reading: the file tree, where each file's bytes are in the tar, and where
 * decoding can start. Looked up in place, so memory stays flat at any number of files; only the table of
 * spans is held. Each thread opens its own.
 *
 * The file is believed only as far as it is checked: its kind, schema and spans when opened, each row as it is
 * used. Bytes are not covered: they are checked against the span's digest when they are fetched.
 */

import type BetterSqlite3 from 'better-sqlite3';
import { type Digest, type DiffId, parseDiffId, parseDigest } from '../common/digest.js';
import { SiphonError } from '../common/errors.js';
import { inflateRawSync } from 'node:zlib';
import { WINDOW_SIZE } from '../ffi/zlib.js';
import { type ExpectedLayer, checkExpected } from './expected-layer.js';
import { damagedIndex, openIndexFile } from './index-file.js';
import { type IndexStatements, type RowStatement, prepareStatements } from './index-statements.js';
import {
  COMPRESSIONS,
  DIGEST_SUBJECTS,
  type DirectoryEntry,
  type Inode,
  LAYER_FORMATS,
  type LayerInfo,
  type Segment,
  type Span,
  rootIno,
} from './layer-model.js';
import { isDirectory, isRegular } from './modes.js';
import { toInode } from './inode-row.js';
import { type ListedEntry, ListingCursor } from './listing-page.js';
import { FORMAT_VERSION, PAGE_ENTRIES, listingNumber } from './schema.js';
import { SpanTable } from './span-table.js';

export type { ExpectedLayer } from './expected-layer.js';
export type { ListedEntry } from './listing-page.js';
export { rootIno } from './layer-model.js';
export type { DirectoryEntry, Inode, LayerInfo, Segment, Span } from './layer-model.js';

/** A directory without an entry in the tar. */
export interface ImplicitDirectory {
  ino: number;
  /** From the root, without a leading slash. */
  path: Buffer;
}

export class LayerIndex implements Disposable {
  readonly info: LayerInfo;
  readonly #path: string;
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
      throw damagedIndex(path, error);
    }
  }

  /** Use {@link open}. */
  private constructor(path: string, database: BetterSqlite3.Database, expected: ExpectedLayer) {
    this.#path = path;
    this.#database = database;
    this.info = readInfo(database);
    checkExpected(this.info, expected);
    this.#spans = new SpanTable(database, this.info);
    this.#sql = prepareStatements(database);
    const root = this.inode(rootIno);
    if (root === undefined || !isDirectory(root.mode))
      throw this.#corrupt('it has no root directory');
  }

  /** Where each span begins in the tar; the last of its `spanCount + 1` values is the tar's size. */
  get spanBounds(): Float64Array {
    return this.#spans.bounds;
  }

  /** The inode called `name` in the directory `parent`. */
  lookup(parent: number, name: Buffer): Inode | undefined {
    const row = this.#get(this.#sql.lookup, parent, name);
    return row && toInode(row);
  }

  inode(ino: number): Inode | undefined {
    const row = this.#get(this.#sql.inode, ino);
    return row && toInode(row);
  }

  /** The directory that holds the directory `ino`, `undefined` where that is none; the root holds itself. */
  parent(ino: number): number | undefined {
    // Who wants to know is often about to list the directory, whose page is then at hand.
    const page = this.#listing(listingNumber(ino, 0));
    if (page !== undefined) return this.#checked(() => new ListingCursor(page).parent);
    return this.#get(this.#sql.parent, ino)?.[0] ?? undefined;
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
    this.#checked(() => {
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
      entries.push({ name: entry.name(), position, inode: entry.inode() });
      return entries.length < limit;
    });
    return entries;
  }

  /** Target of the symlink `ino`; `undefined` where it is none. */
  readlink(ino: number): Buffer | undefined {
    return this.#get(this.#sql.target, ino)?.[0] ?? undefined;
  }

  xattrNames(ino: number): Buffer[] {
    if (!this.info.hasXattrs) return [];
    return this.#all(this.#sql.xattrNames, ino).map(([name]) => name);
  }

  xattr(ino: number, name: Buffer): Buffer | undefined {
    if (!this.info.hasXattrs) return undefined;
    return this.#get(this.#sql.xattr, ino, name)?.[0];
  }

  /** Where the bytes `offset` to `offset + length` of the file `ino` are; clipped at its end. */
  segments(ino: number, offset: number, length: number): Segment[] {
    const row = this.#get(this.#sql.content, ino);
    if (row === undefined || !isRegular(row[0])) return [];
    const [, size, dataOffset] = row;
    const end = Math.min(offset + length, size);
    if (end <= offset) return [];
    if (dataOffset === null) return this.#sparseSegments(ino, offset, end);
    return [this.#dataSegment(ino, dataOffset + offset, end - offset)];
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
    const packed = this.#get(this.#sql.window, this.#spans.groupStart(number))?.[0];
    if (packed === undefined) return undefined;
    return this.#checked(() => inflateRawSync(packed, { maxOutputLength: WINDOW_SIZE }));
  }

  /**
   * Directories that no entry of the tar describes, parents first. Where a lower layer has such a
   * directory, its attributes count; here they are 0755, root and the epoch.
   */
  implicitDirectories(): ImplicitDirectory[] {
    return this.#all(this.#sql.implicit).map(([ino, path]) => ({ ino, path }));
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
    for (const [start, tarOffset, length] of extents) {
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
      throw this.#corrupt(`the content of inode ${ino} lies outside the layer`);
    }
    return { kind: 'data', tarOffset, length };
  }

  /** A row of the listing table; the last one is remembered. */
  #listing(number: number): Buffer | undefined {
    if (number !== this.#page.number)
      this.#page = { number, bytes: this.#get(this.#sql.listing, number)?.[0] };
    return this.#page.bytes;
  }

  #checked<T>(read: () => T): T {
    try {
      return read();
    } catch (error) {
      throw damagedIndex(this.#path, error);
    }
  }

  #get<Row>(statement: RowStatement<Row>, ...values: unknown[]): Row | undefined {
    return this.#checked(() => statement.get(...values));
  }

  #all<Row>(statement: RowStatement<Row>, ...values: unknown[]): Row[] {
    return this.#checked(() => statement.all(...values));
  }

  #corrupt(why: string): SiphonError {
    return new SiphonError('corrupt', `Cannot read index "${this.#path}": ${why}`);
  }
}

function readInfo(database: BetterSqlite3.Database): LayerInfo {
  const rows = database.prepare('SELECT * FROM layer LIMIT 2').all() as LayerRow[];
  const [row] = rows;
  if (row !== undefined && !(row.prefetch_end >= 0 && row.prefetch_end <= row.tar_size))
    throw new SiphonError(
      'corrupt',
      `Cannot read index: what is read first ends at ${row.prefetch_end}, expected at most ${row.tar_size}`,
    );
  if (row === undefined || rows.length !== 1)
    throw new SiphonError(
      'corrupt',
      `Cannot read index: it describes ${rows.length} layers, expected one`,
    );
  return {
    formatVersion: FORMAT_VERSION,
    compression: oneOf(COMPRESSIONS, row.compression, 'compression'),
    format: oneOf(LAYER_FORMATS, row.format, 'format'),
    formatReason: row.format_reason,
    digestOf: oneOf(DIGEST_SUBJECTS, row.digest_of, 'digest subject'),
    blobDigest: parseDigest(row.blob_digest),
    blobSize: row.blob_size,
    diffId: parseDiffId(row.diff_id),
    tarSize: row.tar_size,
    spanSize: row.span_size,
    spanCount: row.span_count,
    entryCount: row.entry_count,
    inodeCount: row.inode_count,
    hasXattrs: row.has_xattrs !== 0,
    hasRootEntry: row.has_root_entry !== 0,
    prefetchEnd: row.prefetch_end,
  };
}

function oneOf<T extends string>(known: readonly T[], value: string, what: string): T {
  const found = known.find((one) => one === value);
  if (found !== undefined) return found;
  throw new SiphonError(
    'corrupt',
    `Cannot read index: its ${what} is "${value}", expected ${known.join(', ')}`,
  );
}

interface LayerRow {
  compression: string;
  format: string;
  format_reason: string;
  digest_of: string;
  blob_digest: Digest;
  blob_size: number;
  diff_id: DiffId;
  tar_size: number;
  span_size: number;
  span_count: number;
  entry_count: number;
  inode_count: number;
  has_xattrs: number;
  has_root_entry: number;
  prefetch_end: number;
}

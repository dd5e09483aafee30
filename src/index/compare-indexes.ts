/**
 * Compares two indexes of one layer row by row: one that is to be trusted, and one that was made of the whole
 * blob. What the former cannot know, since it was made of headers alone, is left out.
 */

import type BetterSqlite3 from 'better-sqlite3';
import { SiphonError } from '../common/errors.js';
import { damagedIndex, nameOfIndex, unpackWindow } from './index-damage.js';
import { openIndexFile } from './index-file.js';
import { readInfo } from './layer-row.js';

/** Every table with the columns that order its rows. */
const ORDER_OF: Readonly<Record<string, string>> = {
  layer: 'diff_id',
  inode: 'ino',
  entry: 'parent, name',
  listing: 'number',
  xattr: 'ino, name',
  extent: 'ino, file_offset',
  implicit: 'ino',
  span: 'number',
};

/** What is for people, and may say more in one than in the other. */
const PROSE: ReadonlySet<string> = new Set(['format_reason']);
/** What only those know who have read the whole layer. */
const OF_CONTENTS: ReadonlySet<string> = new Set([
  ...PROSE,
  'digest',
  'digest_of',
  'blob_digest',
  'diff_id',
]);

type Row = Record<string, unknown>;

/**
 * @throws SiphonError `corrupt` that names the first row of `path` that differs from `truthPath`; and as
 * LayerIndex.open
 */
export function compareIndexes(path: string, truthPath: string): void {
  const claimed = openIndexFile(path);
  try {
    const name = nameOf(path, claimed);
    const truth = openIndexFile(truthPath);
    try {
      const ignored = hasDigests(claimed) ? PROSE : OF_CONTENTS;
      for (const [table, order] of Object.entries(ORDER_OF)) {
        const sql = `SELECT * FROM ${table} ORDER BY ${order}`;
        const comparison = { name, table, ignored };
        compareRows(comparison, named(name, rowsOf(claimed, sql)), rowsOf(truth, sql));
      }
      const windows = named(name, windowsOf(claimed));
      compareRows({ name, table: 'window', ignored }, windows, windowsOf(truth));
    } finally {
      truth.close();
    }
  } finally {
    claimed.close();
  }
}

function nameOf(path: string, claimed: BetterSqlite3.Database): string {
  try {
    return nameOfIndex(path, readInfo(claimed).blobDigest);
  } catch (error) {
    throw damagedIndex(nameOfIndex(path), error);
  }
}

function hasDigests(database: BetterSqlite3.Database): boolean {
  return database.prepare('SELECT digest_of FROM layer').pluck().get() !== 'none';
}

function rowsOf(database: BetterSqlite3.Database, sql: string): IterableIterator<Row> {
  return database.prepare<[], Row>(sql).iterate();
}

/** Unpacked: another version of zlib packs the same window into other bytes. */
function* windowsOf(database: BetterSqlite3.Database): Generator<Row, undefined> {
  const rows = database.prepare<[], Row>('SELECT span, data FROM window ORDER BY span');
  for (const { span, data } of rows.iterate()) yield { span, data: unpackWindow(span, data) };
  return undefined;
}

/** The same rows, with errors that name the index. */
function* named(name: string, rows: Iterable<Row>): Generator<Row, undefined> {
  try {
    yield* rows;
    return undefined;
  } catch (error) {
    throw damagedIndex(name, error);
  }
}

interface Comparison {
  /** Of the index that is not trusted. */
  name: string;
  table: string;
  ignored: ReadonlySet<string>;
}

function compareRows(
  { name, table, ignored }: Comparison,
  claimed: Iterator<Row>,
  truth: Iterator<Row>,
): void {
  try {
    for (let number = 1; ; number++) {
      const [is, should] = [claimed.next(), truth.next()];
      if (is.done === true && should.done === true) break;
      if (is.done !== true && should.done !== true && isSameRow(is.value, should.value, ignored))
        continue;
      throw new SiphonError(
        'corrupt',
        `Cannot trust index ${name}: row ${number} of its ${table} table is not what the layer gives`,
      );
    }
  } finally {
    // A query that is left open keeps its database from taking the next.
    claimed.return?.();
    truth.return?.();
  }
}

function isSameRow(a: Row, b: Row, ignored: ReadonlySet<string>): boolean {
  return Object.keys(b).every((column) => ignored.has(column) || isSameValue(a[column], b[column]));
}

function isSameValue(a: unknown, b: unknown): boolean {
  return Buffer.isBuffer(a) && Buffer.isBuffer(b) ? a.equals(b) : a === b;
}

/**
 * Derives an index again from its blob and compares: the only way to know that one from elsewhere tells
 * the truth about the tree. (Contents are checked by span whenever they are read.)
 */

import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inflateRawSync } from 'node:zlib';
import type BetterSqlite3 from 'better-sqlite3';
import { temporaryName } from '../common/atomic-file.js';
import { SiphonError } from '../common/errors.js';
import { WINDOW_SIZE } from '../ffi/zlib.js';
import { buildIndex } from './build-index.js';
import { openIndexFile } from './index-file.js';
import { LayerIndex } from './layer-index.js';
import type { LayerInfo } from './layer-model.js';

export interface VerifyOptions {
  /** Folder for the index made to compare with; by default the system's for temporary files. */
  folder?: string;
  signal?: AbortSignal;
}

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

type Row = Record<string, unknown>;

/**
 * Checks the index at `indexPath` against the whole blob it is said to describe.
 * @throws SiphonError `corrupt` that names the first row that differs; and as {@link buildIndex}
 */
export async function verifyIndex(
  indexPath: string,
  blob: AsyncIterable<Uint8Array>,
  options: VerifyOptions = {},
): Promise<LayerInfo> {
  const info = readInfo(indexPath);
  const path = temporaryName(join(options.folder ?? tmpdir(), 'siphon-verify'));
  const { blobDigest, blobSize, diffId, spanSize } = info;
  const expected = { blobDigest, blobSize, diffId };
  const signal = options.signal === undefined ? {} : { signal: options.signal };
  try {
    await buildIndex(blob, { output: path, spanSize, expected, ...signal });
    compareFiles(indexPath, path);
  } finally {
    await rm(path, { force: true });
  }
  return info;
}

function readInfo(path: string): LayerInfo {
  using index = LayerIndex.open(path);
  return index.info;
}

function compareFiles(path: string, truthPath: string): void {
  const claimed = openIndexFile(path);
  try {
    const truth = openIndexFile(truthPath);
    try {
      for (const [table, order] of Object.entries(ORDER_OF)) {
        compareRows(
          table,
          rowsOf(claimed, `SELECT * FROM ${table} ORDER BY ${order}`),
          rowsOf(truth, `SELECT * FROM ${table} ORDER BY ${order}`),
        );
      }
      compareRows('window', windowsOf(claimed), windowsOf(truth));
    } finally {
      truth.close();
    }
  } finally {
    claimed.close();
  }
}

function rowsOf(database: BetterSqlite3.Database, sql: string): Iterator<Row> {
  return database.prepare<[], Row>(sql).iterate();
}

/** Unpacked: another version of zlib packs the same window into other bytes. */
function* windowsOf(database: BetterSqlite3.Database): Generator<Row, undefined> {
  const rows = database.prepare<[], { span: number; data: Buffer }>(
    'SELECT span, data FROM window ORDER BY span',
  );
  for (const { span, data } of rows.iterate()) {
    yield { span, data: inflateRawSync(data, { maxOutputLength: WINDOW_SIZE }) };
  }
  return undefined;
}

function compareRows(table: string, claimed: Iterator<Row>, truth: Iterator<Row>): void {
  try {
    for (
      let number = 1;
      isNextSame(claimed, truth, `row ${number} of its ${table} table`);
      number++
    );
  } finally {
    // A query that is left open keeps its database from taking the next.
    claimed.return?.();
    truth.return?.();
  }
}

/** Whether there is a next row; that it is the same is checked. */
function isNextSame(claimed: Iterator<Row>, truth: Iterator<Row>, what: string): boolean {
  const [is, should] = [claimed.next(), truth.next()];
  if (is.done === true && should.done === true) return false;
  if (is.done !== true && should.done !== true && isSameRow(is.value, should.value)) return true;
  throw new SiphonError('corrupt', `Cannot trust index: ${what} is not what the layer gives`);
}

function isSameRow(a: Row, b: Row): boolean {
  return Object.keys(b).every((column) => isSameValue(a[column], b[column]));
}

function isSameValue(a: unknown, b: unknown): boolean {
  return Buffer.isBuffer(a) && Buffer.isBuffer(b) ? a.equals(b) : a === b;
}

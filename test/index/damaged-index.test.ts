/**
 * Indexes of which one value is another, of every kind, in every column of every table: whoever opens, looks
 * through or reads one gets what the layer holds, or an error that names the file and what is wrong with it; and
 * whoever compares it with the layer always gets such an error.
 */

import { copyFileSync, mkdtempSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { gunzipSync, gzipSync } from 'node:zlib';
import type BetterSqlite3 from 'better-sqlite3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { errorCode, errorMessage } from '#src/common/errors.js';
import { Sqlite } from '#src/common/sqlite.js';
import { compareIndexes } from '#src/index/compare-indexes.js';
import { IndexBuilder } from '#src/index/index-builder.js';
import { LayerIndex } from '#src/index/layer-index.js';
import { TABLES } from '#src/index/schema.js';
import { SpanCache } from '#src/index/span-cache.js';
import { SpanReader } from '#src/index/span-reader.js';
import { listTree } from '#src/layers/index-listing.js';
import { memorySource } from './support/layers.js';
import { dir, file, symlink, tarOf } from './support/tar-bytes.js';

const content = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7919) >> (i % 11)));
/** Four bytes, in two pieces among holes (GNU.sparse 0.1). */
const SPARSE = {
  'GNU.sparse.size': '100000',
  'GNU.sparse.numblocks': '2',
  'GNU.sparse.name': 'sparse',
  'GNU.sparse.map': '1000,2,50000,2',
};
/** A row in every table. */
const BLOB = gzipSync(
  tarOf(
    dir('d', { mtime: 5 }),
    file('d/a', content, { pax: { 'SCHILY.xattr.user.x': 'y' } }),
    symlink('d/s', 'a'),
    file('implied/f', 'small'),
    file('sparse', 'abcd', { pax: SPARSE }),
  ),
);
const TAR = gunzipSync(BLOB);

/** Of any kind that a file can hold, whatever the schema says. */
const VALUES: readonly unknown[] = [
  null,
  -1,
  0,
  1,
  7,
  99,
  2 ** 32,
  2n ** 63n - 1n,
  1.5,
  '1',
  'sha256:0',
  Buffer.alloc(0),
  Buffer.from([0]),
  Buffer.from('../x'),
  Buffer.alloc(200_000),
];

interface Column {
  table: string;
  column: string;
  key: string;
  isKey: boolean;
}

let folder: string;
let truth: string;
/** The same, in tables that take any value. */
let lax: string;
let columns: Column[];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'siphon-damaged-'));
  truth = join(folder, 'truth');
  lax = join(folder, 'lax');
  const builder = new IndexBuilder({ path: truth, spanSize: 64 << 10 });
  builder.push(BLOB);
  builder.finish();
  copyFileSync(truth, lax);
  columns = columnsOf(truth);
  withDatabase(lax, (database) => writeSchema(database, TABLES.map(laxly)));
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

test.each(TABLES.map((sql) => /^CREATE TABLE (\w+)/.exec(sql)?.[1] ?? ''))(
  'any value in the table %s is either right or said to be wrong',
  async (table) => {
    const cases = columns.filter((column) => column.table === table);
    expect(cases.length).toBeGreaterThan(1);
    for (const column of cases) for (const value of VALUES) await tryValue(column, value);
  },
  60_000,
);

/** Tables that reading contents depends on, besides those that say where a file is. */
const OF_SPANS: ReadonlySet<string> = new Set(['layer', 'span', 'window']);

/** Puts `value` into one row, and does all that can be done with the index. */
async function tryValue(column: Column, value: unknown): Promise<void> {
  const path = join(folder, 'changed');
  if (!changed(path, column, value)) return;
  const what = `${column.table}.${column.column} = ${String(value).slice(0, 20)}`;
  const damage = await damageOf(() => useAll(path, OF_SPANS.has(column.table)));
  if (damage !== undefined) expect.soft(damage, what).toMatch(NAMED);
  const difference = await damageOf(() => {
    LayerIndex.open(path).close();
    compareIndexes(path, truth);
  });
  if (column.column === 'format_reason') return;
  expect.soft(difference, what).toMatch(NAMED);
}

/** An error that names the file, or the layer of which it says a span wrongly, and what is wrong. */
const NAMED =
  /^Cannot (?:(?:read|trust) index "[^"]*changed"(?: of layer "sha256:\w{64}")?|read span \d+ of layer "sha256:\w{64}"): .{10}/;

/** What is wrong, as an error says it; a defect is thrown. */
async function damageOf(action: () => unknown): Promise<string | undefined> {
  try {
    await action();
    return undefined;
  } catch (error) {
    if (errorCode(error) !== 'corrupt') throw error;
    return errorMessage(error);
  }
}

/** Everything that a mount, a listing or a read asks of an index. */
async function useAll(path: string, readsAll: boolean): Promise<void> {
  using index = LayerIndex.open(path);
  Array.from(index.implicitDirectories());
  for (const entry of listTree(path)) lookAt(index, entry.ino);
  for (let ino = 1; ino <= index.info.inodeCount && ino < 20; ino++) lookAt(index, ino);
  if (!readsAll) return;
  const cache = SpanCache.open(mkdtempSync(join(folder, 'cache-')), index.spanBounds);
  const reader = new SpanReader({ index, cache, source: memorySource(BLOB) });
  try {
    await reader.ensure(0, index.info.spanCount - 1, new AbortController().signal);
    const tar = Buffer.alloc(index.info.tarSize);
    readSync(cache.fd, tar, 0, tar.length, 0);
    if (!tar.equals(TAR)) throw new Error('wrong bytes were taken for right');
  } finally {
    await reader.close();
    cache.close();
  }
}

function lookAt(index: LayerIndex, ino: number): void {
  index.inode(ino);
  index.parent(ino);
  index.readlink(ino);
  for (const name of index.xattrNames(ino)) index.xattr(ino, name);
  for (const { name } of index.readdir(ino, 0, 100)) index.lookup(ino, name);
  for (const segment of index.segments(ino, 0, 1 << 30)) {
    if (segment.kind === 'data' && segment.tarOffset + segment.length > TAR.length)
      throw new Error('a segment lies outside the tar');
  }
}

/** Whether there is an index at `path` now that has `value` in a row of the column, and did not before. */
function changed(path: string, { table, column, key, isKey }: Column, value: unknown): boolean {
  copyFileSync(lax, path);
  return withDatabase(path, (database) => {
    const row = `(${key}) IN (SELECT ${key} FROM ${table} ORDER BY ${key} DESC LIMIT 1)`;
    const before = database.prepare(`SELECT ${column} FROM ${table} WHERE ${row}`).pluck().get();
    try {
      database.prepare(`UPDATE ${table} SET ${column} = ? WHERE ${row}`).run(value);
    } catch (error) {
      // A key of rows cannot be everything even here.
      if (isKey) return false;
      throw error;
    }
    writeSchema(database, TABLES);
    return !isDeepStrictEqual(before, value);
  });
}

function withDatabase<T>(path: string, use: (database: BetterSqlite3.Database) => T): T {
  const database = new Sqlite(path);
  try {
    database.pragma('synchronous = OFF');
    database.unsafeMode();
    return use(database);
  } finally {
    database.close();
  }
}

function writeSchema(database: BetterSqlite3.Database, tables: readonly string[]): void {
  database.pragma('writable_schema = ON');
  const update = database.prepare('UPDATE sqlite_schema SET sql = ? WHERE name = ?');
  for (const sql of tables) update.run(sql, /^CREATE TABLE (\w+)/.exec(sql)?.[1]);
}

/** The table with columns that take anything. */
function laxly(sql: string): string {
  return sql
    .replace(/ STRICT,? ?/, ' ')
    .replaceAll(' NOT NULL', '')
    .replaceAll(/ (?:INTEGER|TEXT|BLOB)(?! PRIMARY)/g, '');
}

function columnsOf(path: string): Column[] {
  return withDatabase(path, (database) =>
    TABLES.flatMap((sql) => {
      const table = /^CREATE TABLE (\w+)/.exec(sql)?.[1] ?? '';
      const found = database.pragma(`table_info(${table})`) as { name: string; pk: number }[];
      const keys = found.filter(({ pk }) => pk > 0).map(({ name }) => name);
      const key = keys.length === 0 ? 'rowid' : keys.join(', ');
      return found.map(({ name, pk }) => ({ table, column: name, key, isKey: pk > 0 }));
    }),
  );
}

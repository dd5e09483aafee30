import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Sqlite } from '#src/common/sqlite.js';
import { PageFile } from '#src/index/sqlite/page-file.js';
import { RecordWriter } from '#src/index/sqlite/record.js';
import { TableFiller } from '#src/index/sqlite/table-filler.js';
import { temporaryFolder } from '../support/layers.js';

const TABLES = {
  numbered: 'CREATE TABLE filled(number INTEGER PRIMARY KEY, value INTEGER, bytes BLOB) STRICT',
  keyed:
    'CREATE TABLE filled(value INTEGER, bytes BLOB, PRIMARY KEY(value, bytes)) STRICT, WITHOUT ROWID',
} as const;

interface Row {
  value: number | null;
  bytes: Buffer;
}

/** Fills a table with `rows`, whose numbers are 3, 6, 9 and so on; returns those that SQLite does not read as they are. */
function wrongRows(kind: keyof typeof TABLES, rows: readonly Row[]): Row[] {
  const path = join(temporaryFolder(), 'database');
  const database = new Sqlite(path);
  database.exec(TABLES[kind]);
  const root = database.prepare('SELECT rootpage FROM sqlite_schema').pluck().get() as number;
  database.close();
  {
    using file = new PageFile(path);
    const filler = new TableFiller(file, root, kind);
    const record = new RecordWriter(100_000);
    for (const [n, { value, bytes }] of rows.entries()) {
      record.begin();
      if (kind === 'numbered') record.null();
      if (value === null) record.null();
      else record.integer(value);
      filler.add(record.blob(bytes), 3 * (n + 1));
    }
    filler.finish();
    file.finish();
  }
  const filled = new Sqlite(path);
  expect(filled.pragma('integrity_check', { simple: true })).toBe('ok');
  const found = filled.prepare<[], Row>('SELECT value, bytes FROM filled').all();
  const by = kind === 'numbered' ? 'number = ?' : 'value IS ? AND bytes = ?';
  const one = filled.prepare<unknown[], Buffer>(`SELECT bytes FROM filled WHERE ${by}`).pluck();
  const wrong = rows.filter(({ value, bytes }, n) => {
    const looked = kind === 'numbered' ? one.get(3 * (n + 1)) : one.get(value, bytes);
    const read = found[n];
    return read?.value !== value || !bytes.equals(read.bytes) || looked?.equals(bytes) !== true;
  });
  expect(found).toHaveLength(rows.length);
  // What is added later finds its place.
  const added = kind === 'numbered' ? '1, 2, 3' : "-1, x'00'";
  filled.exec(`INSERT INTO filled VALUES (${added.replace('3', "x'00'")})`);
  expect(filled.pragma('integrity_check', { simple: true })).toBe('ok');
  filled.close();
  return wrong;
}

/** Rows in the order of their keys. */
function rowsOf(count: number, bytes: number): Row[] {
  return Array.from({ length: count }, (_, n) => ({
    value: n,
    bytes: Buffer.alloc(bytes, n % 251),
  }));
}

test.each(['numbered', 'keyed'] as const)('a %s table has the values it was given', (kind) => {
  const powers = [7, 8, 15, 16, 23, 24, 31, 32, 47, 48, 52].map((bits) => 2 ** bits);
  const values = [0, 1, 2, ...powers.flatMap((power) => [power - 1, power, -power, -power - 1])];
  const rows = [null, ...[...values, Number.MAX_SAFE_INTEGER].toSorted((a, b) => a - b)].map(
    (value, n) => ({ value, bytes: Buffer.alloc(n % 70, n) }),
  );
  // SQLite has no NULL in the key of a table without row numbers.
  const given = kind === 'keyed' ? rows.slice(1) : rows;
  expect(wrongRows(kind, given)).toEqual([]);
});

test.each(['numbered', 'keyed'] as const)('a %s table may have any number of rows', (kind) => {
  // Some 15 to a page: from 225 on there are three levels, which any number of pages may begin.
  const counts = [0, 1, 2, ...Array.from({ length: 20 }, (_, n) => 10 + n)];
  for (let count = 215; count < 245; count += 1) counts.push(count);
  for (const count of [...counts, 4000]) {
    const rows = rowsOf(count, 250);
    expect(wrongRows(kind, rows)).toEqual([]);
  }
});

test('rows that are longer than a page go on in others', () => {
  const lengths = [4050, 4051, 4052, 4053, 4054, 4055, 4056, 4057, 4058, 4059, 4060];
  const longer = [8000, 8140, 8141, 8142, 8143, 8144, 8145, 12_230, 12_240, 40_000];
  const rows = [...lengths, ...longer].map((length, value) => ({
    value,
    bytes: Buffer.alloc(length, value + 1),
  }));
  expect(wrongRows('numbered', rows)).toEqual([]);
});

test('as many pages as lead to others are taken', () => {
  // One row to a page, 500 pages to one above.
  const rows = rowsOf(1100, 3000);
  expect(wrongRows('numbered', rows)).toEqual([]);
});

test('what is no integer is not stored', () => {
  const record = new RecordWriter(100).begin();
  for (const value of [0.5, 2 ** 53, Number.NaN])
    expect(() => record.integer(value)).toThrow(RangeError);
});

test('no record is longer than it may be', () => {
  const record = new RecordWriter(100).begin();
  expect(() => record.text('x'.repeat(101))).toThrow(RangeError);
  expect(() => record.blob(Buffer.alloc(101))).toThrow(RangeError);
});

/** Layers and indexes that were made to do harm: an error in time, in little memory, never a wrong byte. */

import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Sqlite } from '#src/common/sqlite.js';
import { IndexBuilder } from '#src/index/index-builder.js';
import { LayerIndex } from '#src/index/layer-index.js';
import { SpanCache } from '#src/index/span-cache.js';
import { SpanReader } from '#src/index/span-reader.js';
import { TarReader } from '#src/index/tar-reader.js';
import { listTree } from '#src/layers/index-listing.js';
import { allEntries, indexOf, memorySource, temporaryFolder } from './support/layers.js';
import {
  dir,
  file,
  hardlink,
  headerBytes,
  pieceBytes,
  symlink,
  tarOf,
} from './support/tar-bytes.js';

/** A gzip layer of several spans. */
const CONTENT = Buffer.from(Array.from({ length: 400_000 }, (_, i) => (i * 7919) >> (i % 11)));
const BLOB = gzipSync(tarOf(dir('d'), file('d/a', CONTENT)));

/** Path of its index, changed by SQL. */
function changedIndex(...statements: string[]): string {
  const path = join(temporaryFolder(), 'index');
  const builder = new IndexBuilder({ path, spanSize: 64 << 10 });
  builder.push(BLOB);
  builder.finish();
  const database = new Sqlite(path);
  for (const statement of statements) database.exec(statement);
  database.close();
  return path;
}

/** Reads every span through an index. */
async function readAll(path: string): Promise<void> {
  const index = LayerIndex.open(path);
  onTestFinished(() => index.close());
  const cache = SpanCache.open(temporaryFolder(), index.spanBounds);
  onTestFinished(() => cache.close());
  const reader = new SpanReader({ index, cache, source: memorySource(BLOB) });
  onTestFinished(() => reader.close());
  await reader.ensure(0, index.info.spanCount - 1, new AbortController().signal);
}

describe('checkpoints', () => {
  test.each([
    ['that all lead to one place', 'UPDATE span SET blob_offset = 10, blob_length = 100'],
    [
      'whose windows are those of others',
      'UPDATE window SET data = (SELECT data FROM window LIMIT 1)',
    ],
    ['without windows', 'DELETE FROM window'],
    ['of other bits', 'UPDATE span SET bits = (bits + 1) % 8'],
    ['cut short', 'UPDATE span SET blob_length = 1'],
    ['with another digest', 'UPDATE span SET digest = zeroblob(32) WHERE number = 1'],
  ])('%s give no byte', async (_, statement) => {
    await expect(readAll(changedIndex(statement))).rejects.toMatchObject({ code: 'corrupt' });
  });

  test('with a window that inflates to more than a window are refused', () => {
    const path = changedIndex();
    const database = new Sqlite(path);
    const bomb = gzipSync(Buffer.alloc(1 << 20)).subarray(10, -8);
    database.prepare('UPDATE window SET data = ?').run(bomb);
    database.close();
    using index = LayerIndex.open(path);
    expect(() => index.window(1)).toThrow(/Cannot read index/);
  });
});

describe('a tree that goes round', () => {
  const loop = 'UPDATE entry SET ino = 1 WHERE parent = 1';
  /** The folder `d` lists what the root does: itself. */
  const listedLoop = `UPDATE listing SET entries = (SELECT entries FROM listing ORDER BY number LIMIT 1)`;

  test('is listed as far as it says it goes', () => {
    const path = changedIndex(listedLoop);
    expect(() => [...listTree(path)]).toThrow(/more entries than the 2 that it says/);
  });

  test('is looked up in place, without end and without harm', () => {
    using index = LayerIndex.open(changedIndex(loop));
    let ino = 1;
    for (let depth = 0; depth < 5000; depth++) ino = index.lookup(ino, Buffer.from('d'))?.ino ?? 0;
    expect(ino).toBe(1);
  });
});

test('headers that say more than there is end where the tar does', () => {
  for (const size of [1, 512, 8 ** 11 - 1]) {
    const blob = Buffer.concat([headerBytes({ path: 'a', size })]);
    expect(() => indexOf(blob)).toThrow(/ends at byte 512 in the middle of the content of "a"/);
  }
});

test('files over 8 GiB are skipped in little memory, and what follows is found', () => {
  const size = 9 * 2 ** 30 + 5;
  const found: [string, number, number][] = [];
  const reader = new TarReader((entry, dataOffset) =>
    found.push([entry.path, entry.size, dataOffset]),
  );
  const large = headerBytes({
    path: 'large',
    edit: (header) => {
      header.fill(0, 124, 136);
      header[124] = 0x80;
      header.writeBigUInt64BE(BigInt(size), 128);
    },
  });
  reader.push(large);
  const zeros = Buffer.alloc(64 << 20);
  const padded = Math.ceil(size / 512) * 512;
  for (let left = padded; left > 0; left -= zeros.length)
    reader.push(zeros.subarray(0, Math.min(left, zeros.length)));
  reader.push(tarOf(file('after', 'x')));
  reader.finish();
  expect(found).toEqual([
    ['large', size, 512],
    ['after', 1, 512 + padded + 512],
  ]);
});

test('a bomb of zeros becomes an index in little memory', () => {
  const size = 256 << 20;
  const header = headerBytes({ path: 'zeros', size });
  const bomb = gzipSync(Buffer.concat([header, Buffer.alloc(size + 1024)]));
  const before = process.memoryUsage.rss();
  const path = join(temporaryFolder(), 'index');
  const builder = new IndexBuilder({ path });
  builder.push(bomb);
  expect(builder.finish().tarSize).toBe(512 + size + 1024);
  expect(process.memoryUsage.rss() - before).toBeLessThan(200 << 20);
});

test('a folder of 100,000 entries is listed in pages, from anywhere', () => {
  const count = 100_000;
  const headers = Array.from({ length: count }, (_, n) =>
    headerBytes({ path: `f${String(n).padStart(6, '0')}` }),
  );
  const index = indexOf(Buffer.concat([...headers, Buffer.alloc(1024)]));
  expect(allEntries(index, 1, 1000)).toHaveLength(count);
  expect(index.readdir(1, count - 2, 10).map(({ name }) => name.toString())).toEqual([
    'f099998',
    'f099999',
  ]);
});

test.each([
  ['to each other', [symlink('a', 'b'), symlink('b', 'a'), file('a/f')]],
  ['that grow', [symlink('a', 'a/a/a/a/a/a/a/a'), file('a/f')]],
  ['to themselves', [symlink('a', 'a'), file('a/f')]],
])('links %s end in an error', (_, pieces) => {
  expect(() => indexOf(tarOf(...pieces))).toThrow(/symlinks/);
});

describe('paths made to cost much more than their bytes', () => {
  /** Feeds headers to a builder until it has enough; @returns its error and the bytes of its files. */
  function failing(headers: Iterable<Buffer>): { message: string; bytes: number } {
    const path = join(temporaryFolder(), 'index');
    const builder = new IndexBuilder({ path });
    onTestFinished(() => builder.abort());
    try {
      for (const header of headers) builder.push(header);
    } catch (error) {
      const bytes = statSync(path).size + statSync(`${path}.staging`).size;
      return { message: String(error), bytes };
    }
    throw new Error('nothing was refused');
  }
  const deep = (n: number) =>
    pieceBytes(file('', '', { pax: { path: `${n}/${'a/'.repeat(2040)}f` } }));
  const chain = Array.from({ length: 40 }, (_, n) =>
    pieceBytes({
      ...symlink(`l${n}`, ''),
      pax: { linkpath: `${'d/../'.repeat(800)}l${n + 1}` },
    }),
  );

  test('2,047 folders, one in the other, that no entry describes', () => {
    const index = indexOf(tarOf(file('', '', { pax: { path: `${'a/'.repeat(2047)}f` } })));
    const paths = [...index.implicitDirectories()].map(({ path }) => path);
    expect(paths).toHaveLength(2048);
    expect(paths.at(-1)).toBe('a/'.repeat(2047).slice(0, -1));
    expect(index.info.entryCount).toBe(2048);
  });

  test('an index is in proportion to the tar, whatever its gzip', () => {
    const bomb = gzipSync(Buffer.concat(Array.from({ length: 1000 }, (_, n) => deep(n))));
    expect(bomb.length).toBeLessThan(100_000);
    const { message, bytes } = failing([bomb]);
    expect(message).toMatch(/directories are needed that no entry describes, expected at most \d+/);
    expect(bytes).toBeLessThan(16 << 20);
  });

  test('folders that are made and replaced again and again', () => {
    const headers = function* () {
      for (;;) yield* [deep(0), pieceBytes({ path: '0', type: 'g' })];
    };
    expect(failing(headers()).message).toMatch(/directories are needed that no entry describes/);
  });

  test('hard links through links that are costly to follow', () => {
    const headers = function* () {
      yield pieceBytes(file('f'));
      yield* chain;
      for (let n = 0; ; n++) yield pieceBytes(hardlink(`h${n}`, 'l0/../f'));
    };
    expect(failing(headers()).message).toMatch(/took \d+ look-ups, expected fewer/);
  });

  test('a link on the way that is made anew before each entry', () => {
    const headers = function* () {
      yield pieceBytes(dir('l40/d'));
      yield* chain;
      for (let n = 0; ; n++) {
        yield pieceBytes(symlink('x', 'y'));
        yield pieceBytes(file(`l0/d/f${n}`));
      }
    };
    const { message, bytes } = failing(headers());
    expect(message).toMatch(/took \d+ look-ups, expected fewer \(tar entry "l0\/d\/f\d+"\)/);
    expect(bytes).toBeLessThan(64 << 20);
  });

  test('extended attributes that an index would be full of', () => {
    const value = 'x'.repeat(65_000);
    const pax = Object.fromEntries(
      Array.from({ length: 15 }, (_, n) => [`SCHILY.xattr.user.${n}`, value]),
    );
    const piece = pieceBytes(file('f', '', { pax }));
    const headers = function* () {
      for (;;) yield piece;
    };
    expect(failing(headers()).message).toMatch(
      /extended attributes take \d+ bytes, expected at most/,
    );
  });

  test('names of a mebibyte that are short once they are clean', () => {
    const path = `${'a/../'.repeat(200_000)}f`;
    expect(indexOf(tarOf(file('', 'x', { pax: { path } }))).info.entryCount).toBe(1);
  });
});

test('an index that is no database at all but says so', () => {
  const path = changedIndex();
  writeFileSync(path, Buffer.concat([Buffer.from('SQLite format 3\0'), Buffer.alloc(4096)]));
  expect(() => LayerIndex.open(path)).toThrow(/expected a layer index/);
});

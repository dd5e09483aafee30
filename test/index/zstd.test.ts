import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, readSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { BlobSource } from '#src/common/blob-source.js';
import { digestOf } from '#src/common/digest.js';
import { Sqlite } from '#src/common/sqlite.js';
import { buildIndex } from '#src/index/build-index.js';
import { IndexBuilder } from '#src/index/index-builder.js';
import { LayerIndex } from '#src/index/layer-index.js';
import { SpanCache } from '#src/index/span-cache.js';
import { SpanReader } from '#src/index/span-reader.js';
import { indexOf, memorySource, piecesOf, temporaryFolder } from './support/layers.js';
import { file, tarOf } from './support/tar-bytes.js';

const SPAN_SIZE = 64 << 10;
const MAGIC = Buffer.from('28b52ffd', 'hex');

/** Bytes that compress to about half. */
const halfRandom = (length: number) => randomBytes(length).map((byte) => byte & 15);

const tar = tarOf(
  file('text', Buffer.from(halfRandom(900_000))),
  file('random', randomBytes(400_000)),
  file('zeros', Buffer.alloc(1_500_000)),
);

const zstd = (plain: Buffer, ...args: string[]) =>
  execFileSync('zstd', ['-c', '-q', ...args], { input: plain, maxBuffer: 64 << 20 });

function skippable(content: Buffer, kind = 0): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(0x184d2a50 + kind, 0);
  head.writeUInt32LE(content.length, 4);
  return Buffer.concat([head, content]);
}

/** A frame for every `size` bytes, each after what `between` gives. */
function frames(size: number, between: () => Buffer = () => Buffer.alloc(0)): Buffer {
  const folder = mkdtempSync(join(tmpdir(), 'siphon-frames-'));
  try {
    const paths = Array.from({ length: Math.ceil(tar.length / size) }, (_, i) => `${folder}/${i}`);
    for (const [i, path] of paths.entries())
      writeFileSync(path, tar.subarray(i * size, (i + 1) * size));
    execFileSync('zstd', ['-q', ...paths]);
    const parts = paths.flatMap((path) => [between(), readFileSync(`${path}.zst`)]);
    return Buffer.concat([...parts, between()]);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A frame of blocks that each repeat one byte: 128 KiB out of four bytes. */
function bombFrame(length: number, windowDescriptor: number): Buffer {
  const header = Buffer.from([0x00, windowDescriptor]);
  const blocks = Math.ceil(length / (128 << 10));
  const block = Buffer.from([0x02, 0x00, 0x10, 0]); // RLE, 131,072 bytes
  const last = Buffer.from([0x03, 0x00, 0x10, 0]);
  return Buffer.concat([MAGIC, header, Buffer.alloc(4 * (blocks - 1), block), last]);
}

const one = zstd(tar);
const emptyFrame = zstd(Buffer.alloc(0));
const blobs: [string, () => Buffer, 'apart' | 'together'][] = [
  ['one frame', () => one, 'together'],
  [
    'one frame without checksum and size',
    () => zstd(tar, '--no-check', '--no-content-size'),
    'together',
  ],
  ['one frame with a long window', () => zstd(tar, '--ultra', '-22', '--long=27'), 'together'],
  ['small frames', () => frames(30_000), 'apart'],
  ['frames larger than a span', () => frames(300_000), 'together'],
  ['frames of pzstd', pzstd, 'together'],
  ['frames to skip everywhere', () => frames(60_000, () => skippable(randomBytes(99), 7)), 'apart'],
  ['a large frame to skip', () => frames(60_000, () => skippable(randomBytes(100_000))), 'apart'],
  ['empty frames', () => frames(30_000, () => emptyFrame), 'apart'],
  ['a frame to skip first', () => Buffer.concat([skippable(randomBytes(9)), one]), 'together'],
];

/** In frames of several MiB; its files have sizes in frames to skip. */
function pzstd(): Buffer {
  return execFileSync('pzstd', ['-c', '-q', '-p', '2'], { input: tar, maxBuffer: 64 << 20 });
}

describe('spans', () => {
  test.each(blobs)('of %s give back any part of the tar', async (_, make, how) => {
    const blob = make();
    const index = indexOf(blob, { spanSize: SPAN_SIZE, pieceSize: 10_007 });
    expect(index.info).toMatchObject({
      compression: 'zstd',
      blobDigest: digestOf(blob),
      diffId: digestOf(tar),
      tarSize: tar.length,
    });
    expect(index.info.spanCount).toBeGreaterThan(5);
    const { cache, reader, source } = readerOf(index, blob);
    for (const number of shuffled(index.info.spanCount)) {
      const wasThere = cache.has(number);
      const { blobOffset, blobLength, tarLength } = index.span(number);
      const decoded = reader.decodedBytes;
      await reader.ensure(number, number, AbortSignal.timeout(10_000));
      expect(cache.has(number)).toBe(true);
      if (how === 'together') continue;
      // A frame of its own or several: its bytes, and no others.
      expect(wasThere).toBe(false);
      expect(source.reads.at(-1)).toEqual([blobOffset, blobLength]);
      expect(reader.decodedBytes - decoded).toBe(tarLength);
    }
    await reader.ensure(0, index.info.spanCount - 1, AbortSignal.timeout(10_000));
    expect(contentOf(cache).equals(tar)).toBe(true);
    expect(reader.decodedBytes).toBe(tar.length);
  });

  test('of small frames hold several, of large ones a part', () => {
    const small = indexOf(frames(30_000), { spanSize: SPAN_SIZE });
    expect(small.group(1)).toHaveLength(1);
    expect(small.span(1)).toMatchObject({ tarOffset: 90_000, tarLength: 90_000, skip: 0 });
    const large = indexOf(frames(300_000), { spanSize: 128 << 10 });
    const group = large.group(1);
    expect(group.length).toBeGreaterThan(1);
    expect(group.map(({ skip }) => skip)).toEqual(group.map(({ tarOffset }) => tarOffset));
    expect(new Set(group.map(({ blobLength }) => blobLength)).size).toBe(1);
    const next = large.span(group.length);
    expect(next).toMatchObject({ tarOffset: 300_000, skip: 0, blobOffset: group[0]?.blobLength });
  });

  test('of a frame are all stored by one pass, each as soon as it is there', async () => {
    const index = indexOf(one, { spanSize: SPAN_SIZE });
    const cache = cacheOf(index);
    const source = memorySource(one);
    const reader = new SpanReader({ index, cache, source });
    onTestFinished(() => reader.close());
    const signal = AbortSignal.timeout(10_000);
    const [first, last] = [1, index.info.spanCount - 1];
    const seen: boolean[] = [];
    await Promise.all([
      reader.ensure(first, first, signal).then(() => seen.push(cache.has(last))),
      reader.ensure(last, last, signal).then(() => seen.push(cache.has(last))),
      reader.ensure(first, first, signal),
    ]);
    expect(seen).toEqual([false, true]);
    expect(contentOf(cache).equals(tar)).toBe(true);
    expect(reader.decodedBytes).toBe(tar.length);
    expect(reader.fetchedBytes).toBe(one.length);
  });

  test('of a frame come for the next reader though the first gave up', async () => {
    const index = indexOf(one, { spanSize: SPAN_SIZE });
    const cache = cacheOf(index);
    const source = memorySource(one, { delay: 50 });
    const reader = new SpanReader({ index, cache, source });
    onTestFinished(() => reader.close());
    const impatient = new AbortController();
    const given = reader.ensure(3, 3, impatient.signal);
    impatient.abort();
    await expect(given).rejects.toMatchObject({ code: 'cancelled' });
    await reader.ensure(4, 4, AbortSignal.timeout(10_000));
    expect(source.reads).toHaveLength(1);
  });

  test('of a frame: a second pass stores what is missing, and no more', async () => {
    const index = indexOf(one, { spanSize: SPAN_SIZE });
    const cache = cacheOf(index);
    const failing = { ...memorySource(one), read: () => Promise.reject(new Error('no route')) };
    const sources: BlobSource[] = [failing, memorySource(one)];
    const open = () => Promise.resolve(sources.shift() as BlobSource);
    const broken = new SpanReader({ index, cache, source: open });
    onTestFinished(() => broken.close());
    await expect(broken.ensure(2, 2, AbortSignal.timeout(10_000))).rejects.toThrow('no route');
    const { tarOffset, tarLength } = index.span(0);
    await cache.write(0, 0, tar.subarray(tarOffset, tarOffset + tarLength));
    const reader = new SpanReader({ index, cache, source: memorySource(one) });
    onTestFinished(() => reader.close());
    await reader.ensure(0, index.info.spanCount - 1, AbortSignal.timeout(10_000));
    expect(contentOf(cache).equals(tar)).toBe(true);
  });

  test('of a damaged frame are not stored from the damage on', async () => {
    const index = indexOf(one, { spanSize: SPAN_SIZE });
    const damaged = Buffer.from(one);
    const at = Math.floor(one.length * 0.6);
    damaged[at] = (damaged[at] ?? 0) ^ 0x55;
    const { cache, reader } = readerOf(index, damaged);
    const last = index.info.spanCount - 1;
    await expect(reader.ensure(last, last, AbortSignal.timeout(10_000))).rejects.toMatchObject({
      code: 'corrupt',
      message: expect.stringMatching(/Cannot read span \d+ of layer "sha256:/) as string,
    });
    expect([cache.has(0), cache.has(last)]).toEqual([true, false]);
    const bytes = contentOf(cache);
    for (let number = 0; number <= last; number++) {
      const { tarOffset, tarLength } = index.span(number);
      if (!cache.has(number)) continue;
      const stored = bytes.subarray(tarOffset, tarOffset + tarLength);
      expect(stored.equals(tar.subarray(tarOffset, tarOffset + tarLength))).toBe(true);
    }
  });
});

describe('spans that share a place in a gzip member', () => {
  const blob = gzipSync(tar);

  /** Index whose spans all begin at the header of the blob's only member, with or without gaps. */
  function grouped(change = ''): string {
    const path = join(temporaryFolder(), 'index');
    const builder = new IndexBuilder({ path, spanSize: SPAN_SIZE });
    builder.push(blob);
    builder.finish();
    const database = new Sqlite(path);
    database.exec(`DELETE FROM window;
      UPDATE span SET blob_offset = 0, bits = 0, skip = tar_offset, blob_length = ${blob.length}; ${change}`);
    database.close();
    return path;
  }

  test('are decoded in one pass', async () => {
    using index = LayerIndex.open(grouped());
    const { cache, reader } = readerOf(index, blob);
    await reader.ensure(5, 5, AbortSignal.timeout(10_000));
    await reader.ensure(0, index.info.spanCount - 1, AbortSignal.timeout(10_000));
    expect(contentOf(cache).equals(tar)).toBe(true);
    expect(reader.decodedBytes).toBe(tar.length);
  });

  test.each<[string, string]>([
    ['lie over one another', 'UPDATE span SET skip = skip - 1 WHERE number = 2'],
    ['go backwards', 'UPDATE span SET skip = 0 WHERE number = 2'],
    ['begin before their entry point', 'UPDATE span SET skip = -1 WHERE number = 0'],
    ['lie too far from it', 'UPDATE span SET skip = 1 << 40 WHERE number = 2'],
    ['end at several places', 'UPDATE span SET blob_length = 100 WHERE number = 2'],
    ['are not compressed', "UPDATE layer SET compression = 'none', blob_size = tar_size"],
    ['have digests of the blob', "UPDATE layer SET digest_of = 'blob'"],
    [
      'begin within a byte of zstd',
      "UPDATE span SET bits = 1; UPDATE layer SET compression = 'zstd'",
    ],
  ])('are refused where they %s', (_, change) => {
    expect(() => LayerIndex.open(grouped(change))).toThrow(
      /Cannot read index .*: (?:the \w+ of )?span \d/,
    );
  });

  test('are not taken where they lie beyond the end', async () => {
    using index = LayerIndex.open(grouped('UPDATE span SET skip = skip + 100000 WHERE number > 8'));
    const { cache, reader } = readerOf(index, blob);
    const last = index.info.spanCount - 1;
    await expect(reader.ensure(last, last, AbortSignal.timeout(10_000))).rejects.toMatchObject({
      code: 'corrupt',
    });
    expect(cache.has(8)).toBe(true);
    expect(cache.has(9)).toBe(false);
  });
});

test('digests of the compressed bytes are checked before anything is decoded', async () => {
  const blob = gzipSync(tar);
  const path = join(temporaryFolder(), 'index');
  const builder = new IndexBuilder({ path, spanSize: SPAN_SIZE });
  builder.push(blob);
  builder.finish();
  const database = new Sqlite(path);
  database.exec("UPDATE layer SET digest_of = 'blob', format = 'soci'");
  const update = database.prepare('UPDATE span SET digest = ? WHERE number = ?');
  const spans = database
    .prepare<[], { number: number; blob_offset: number; blob_length: number }>('SELECT * FROM span')
    .all();
  for (const { number, blob_offset: at, blob_length: length } of spans) {
    const hex = digestOf(blob.subarray(at, at + length)).slice('sha256:'.length);
    update.run(Buffer.from(hex, 'hex'), number);
  }
  database.close();
  using index = LayerIndex.open(path);
  const { cache, reader } = readerOf(index, blob);
  await reader.ensure(0, index.info.spanCount - 1, AbortSignal.timeout(10_000));
  expect(contentOf(cache).equals(tar)).toBe(true);
  const damaged = Buffer.from(blob);
  const { blobOffset, blobLength } = index.span(2);
  damaged[blobOffset + (blobLength >> 1)] = 0;
  const second = readerOf(index, damaged);
  await expect(second.reader.ensure(2, 2, AbortSignal.timeout(10_000))).rejects.toMatchObject({
    code: 'corrupt',
  });
  expect(second.reader.decodedBytes).toBe(0);
});

describe('buildIndex', () => {
  const changed = (at: number) => {
    const copy = Buffer.from(one);
    copy[at] = (copy[at] ?? 0) ^ 0xff;
    return copy;
  };

  test.each<[string, () => Buffer, string, RegExp]>([
    [
      'cut data',
      () => one.subarray(0, 5000),
      'corrupt',
      /ends at byte 5000 in the middle of the zstd data/,
    ],
    [
      'data cut in the checksum',
      () => one.subarray(0, -3),
      'corrupt',
      /in the middle of the zstd data/,
    ],
    ['a wrong checksum', () => changed(one.length - 2), 'corrupt', /damaged zstd data .*checksum/],
    [
      'bytes after the data',
      () => Buffer.concat([one, Buffer.from('hello')]),
      'corrupt',
      /no zstd frame begins near byte \d+/,
    ],
    [
      'zeros after the data',
      () => Buffer.concat([one, Buffer.alloc(512)]),
      'corrupt',
      /no zstd frame begins near byte \d+/,
    ],
    [
      'a window of 256 MiB',
      () => bombFrame(1 << 20, (28 - 10) << 3),
      'unsupported',
      /takes a window of more than 128 MiB/,
    ],
  ])('refuses %s and leaves nothing', async (_, make, code, message) => {
    const folder = temporaryFolder();
    const work = buildIndex(piecesOf(make()), { output: join(folder, 'index') });
    await expect(work).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message) as string,
    });
    expect(readdirSync(folder)).toEqual([]);
  });

  test('takes a frame that is mostly zeros in flat memory, and reads its end', async () => {
    const size = 256 << 20;
    const head = tarOf(file('zeros', '', { size })).subarray(0, 512);
    const blob = Buffer.concat([zstd(head), bombFrame(size + 1024, (17 - 10) << 3)]);
    expect(blob.length).toBeLessThan(10_000);
    const index = indexOf(blob);
    expect(index.info.spanCount).toBeGreaterThan(100);
    const last = index.info.spanCount - 1;
    const { cache, reader } = readerOf(index, blob);
    const before = process.memoryUsage.rss();
    await reader.ensure(last, last, AbortSignal.timeout(20_000));
    expect(process.memoryUsage.rss() - before).toBeLessThan(size / 2);
    expect(cache.has(last)).toBe(true);
  });

  test('says what is missing where libzstd is', () => {
    const library = execFileSync('sh', ['-c', 'ldconfig -p | sed -n "s/.*libzstd.so.1 .*=> //p"'])
      .toString()
      .trim();
    const script = `import { Unzstd } from '#src/ffi/zstd.js';
      try { new Unzstd(); } catch (error) { console.log(error.code, error.message, error.hint); }`;
    const shell = `mount --bind /dev/null "$(readlink -f "$0")" && exec "$@"`;
    const node = [process.execPath, '--input-type=module', '--eval', script];
    const said = execFileSync('unshare', ['--mount', 'sh', '-c', shell, library, ...node]);
    expect(said.toString()).toMatch(/^unsupported Cannot decompress zstd: .* Install libzstd1/);
  });
});

function shuffled(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i).toSorted(() => Math.random() - 0.5);
}

function cacheOf(index: LayerIndex): SpanCache {
  const cache = SpanCache.open(join(temporaryFolder(), 'cache'), index.spanBounds);
  onTestFinished(() => cache.close());
  return cache;
}

function readerOf(index: LayerIndex, blob: Buffer) {
  const cache = cacheOf(index);
  const source = memorySource(blob);
  const reader = new SpanReader({ index, cache, source });
  onTestFinished(() => reader.close());
  return { cache, reader, source };
}

function contentOf(cache: SpanCache): Buffer {
  const bytes = Buffer.alloc(tar.length);
  expect(readSync(cache.fd, bytes, 0, tar.length, 0)).toBe(tar.length);
  return bytes;
}

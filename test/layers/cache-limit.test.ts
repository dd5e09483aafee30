import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect, onTestFinished, test } from 'vitest';
import { silentLogger } from '#src/common/log.js';
import type { LayerIndex } from '#src/index/layer-index.js';
import { SpanCache } from '#src/index/span-cache.js';
import { BlobParts } from '#src/layers/blob-parts.js';
import { CacheLimit, type CachedLayer, type SpareParts } from '#src/layers/cache-limit.js';
import { indexOf, temporaryFolder } from '../index/support/layers.js';
import { file, tarOf } from '../index/support/tar-bytes.js';

const SPAN_SIZE = 256 << 10;
const tar = tarOf(file('random', randomBytes(2 << 20)));
const index = (): LayerIndex => indexOf(gzipSync(tar, { level: 1 }), { spanSize: SPAN_SIZE });
/** Long ago. */
const PAST = 1_000_000;

/** A root's layers, of which this process has some open. */
function layersOf(limit: number, whole = 0) {
  const directory = temporaryFolder();
  const open = new Map<number, CachedLayer>();
  const wholeBytes = (): number => whole;
  const held = new Set<number>();
  const dropLargeFiles = (number: number): boolean => {
    if (held.has(number)) return false;
    rmSync(join(directory, String(number), 'files'), { recursive: true });
    return true;
  };
  const log = silentLogger;
  const cacheLimit = new CacheLimit({ directory, limit, open, wholeBytes, dropLargeFiles, log });
  onTestFinished(() => cacheLimit.close());
  /** Opens a layer whose spans are all here, the last of them used most recently. */
  const add = async (number: number, of = index()): Promise<SpanCache> => {
    const folder = join(directory, String(number));
    mkdirSync(folder);
    const cache = SpanCache.open(folder, of.spanBounds);
    onTestFinished(() => cache.close());
    for (let span = 0; span < of.info.spanCount; span += 1) {
      const { tarOffset, tarLength } = of.span(span);
      await cache.write(span, tarOffset, tar.subarray(tarOffset, tarOffset + tarLength));
      new Uint32Array(cache.used)[span] = PAST + number * 1000 + span;
    }
    open.set(number, { index: of, cache, source: { blob: undefined } });
    return cache;
  };
  const close = (number: number): void => {
    open.get(number)?.cache.close();
    open.delete(number);
  };
  const sizeOf = (number: number) => statSync(join(directory, String(number), 'data')).blocks * 512;
  /** Keeps large files of a layer apart, as far as the limit can tell. */
  const keepApart = (number: number, bytes: number): void => {
    const files = join(directory, String(number), 'files');
    mkdirSync(files, { recursive: true });
    writeFileSync(join(files, 'size'), String(bytes));
  };
  return { directory, open, cacheLimit, add, close, sizeOf, held, keepApart };
}

function presentIn(cache: SpanCache): number[] {
  return [...new Uint8Array(cache.presence)].flatMap((state, span) => (state === 0 ? [] : [span]));
}

test('what was used least recently goes first, as much as must', async () => {
  const { cacheLimit, add } = layersOf(3 << 20);
  const older = await add(1);
  const newer = await add(2);
  new Uint32Array(older.used)[0] = PAST * 2;
  const all = presentIn(newer);
  expect(cacheLimit.enforce()).toBeLessThanOrEqual(0);
  expect(cacheLimit.size()).toBeLessThanOrEqual(3 << 20);
  expect(cacheLimit.size()).toBeGreaterThan(2 << 20);
  expect(presentIn(newer)).toEqual(all);
  expect(presentIn(older)).toContain(0);
  expect(presentIn(older)).not.toContain(1);
  expect(presentIn(older)).toContain(all.at(-1));
});

test('nothing goes below the limit', async () => {
  const { cacheLimit, add } = layersOf(8 << 20);
  const cache = await add(1);
  expect(cacheLimit.enforce()).toBe(0);
  expect(presentIn(cache)).toHaveLength(index().info.spanCount);
});

test('what was read a moment ago stays, and goes later', async () => {
  const { cacheLimit, add } = layersOf(1 << 20);
  const cache = await add(1);
  new Uint32Array(cache.used).fill(Date.now() / 1000 + 1);
  const before = presentIn(cache);
  cacheLimit.wrote(1);
  expect(presentIn(cache)).toEqual(before);
  await expect.poll(() => cacheLimit.size()).toBeLessThanOrEqual(1 << 20);
});

test('a layer that nobody has open goes whole, and is opened empty', async () => {
  const { directory, cacheLimit, add, close, sizeOf } = layersOf(3 << 20);
  await add(1);
  const open = await add(2);
  close(1);
  utimesSync(join(directory, '1', 'present'), PAST, PAST);
  cacheLimit.enforce();
  expect(sizeOf(1)).toBe(0);
  expect(presentIn(open)).toHaveLength(index().info.spanCount);
  using again = SpanCache.open(join(directory, '1'), index().spanBounds);
  expect(presentIn(again)).toEqual([]);
});

test('a layer that another process has open is left alone, and the next in line goes', async () => {
  const { directory, cacheLimit, add } = layersOf(3 << 20);
  const shared = await add(1);
  const own = await add(2);
  using other = SpanCache.open(join(directory, '1'), index().spanBounds);
  expect(cacheLimit.enforce()).toBeLessThanOrEqual(0);
  expect(presentIn(shared)).toHaveLength(index().info.spanCount);
  expect(presentIn(other)).toEqual(presentIn(shared));
  expect(presentIn(own).length).toBeLessThan(index().info.spanCount);
});

test('spans of a group go together', async () => {
  const blob = execFileSync('zstd', ['-c', '-q'], { input: tar, maxBuffer: 8 << 20 });
  const grouped = indexOf(blob, { spanSize: SPAN_SIZE });
  expect(grouped.hasOwnEntry(0)).toBe(false);
  const { cacheLimit, add } = layersOf(2 << 20);
  const cache = await add(1, grouped);
  cacheLimit.enforce();
  expect(presentIn(cache)).toEqual([]);
});

/** Parts of a layer's blob that another process has left, all but the last byte. */
async function leaveParts(directory: string, number: number, size: number): Promise<void> {
  const folder = join(directory, String(number));
  mkdirSync(folder, { recursive: true });
  const parts = await BlobParts.open(folder, size);
  await parts?.write(0, randomBytes(size - 1));
  await parts?.close();
  for (const name of ['blob', 'parts']) utimesSync(join(folder, name), PAST, PAST);
}

test('parts of blobs count, and go when they were used least recently', async () => {
  const { directory, cacheLimit, add } = layersOf(3 << 20);
  const spans = await add(1);
  new Uint32Array(spans.used).fill(PAST * 2);
  await leaveParts(directory, 2, 2 << 20);
  await leaveParts(directory, 3, 1 << 20);
  expect(cacheLimit.size()).toBeGreaterThanOrEqual(5 << 20);
  expect(cacheLimit.roomForBlobs).toBeLessThanOrEqual(0);
  expect(cacheLimit.enforce()).toBeLessThanOrEqual(0);
  expect(cacheLimit.size()).toBeLessThanOrEqual(3 << 20);
  expect(presentIn(spans)).toHaveLength(index().info.spanCount);
  const again = await BlobParts.open(join(directory, '2'), 2 << 20);
  expect(again?.present).toBe(0);
  await again?.close();
});

test('parts that somebody has open stay', async () => {
  const { directory, cacheLimit } = layersOf(1 << 20);
  await leaveParts(directory, 1, 2 << 20);
  const other = await BlobParts.open(join(directory, '1'), 2 << 20);
  utimesSync(join(directory, '1', 'parts'), PAST, PAST);
  expect(cacheLimit.enforce()).toBeGreaterThan(0);
  expect(other?.present).toBe((2 << 20) - 1);
  await other?.close();
  expect(cacheLimit.enforce()).toBeLessThanOrEqual(0);
});

test('parts that this process has open go where they are not in use', async () => {
  const { directory, open, cacheLimit, add } = layersOf(3 << 20);
  const cache = await add(1);
  await leaveParts(directory, 1, 2 << 20);
  new Uint32Array(cache.used).fill(Date.now() / 1000 + 60);
  let spare: SpareParts | undefined;
  let dropped = 0;
  const blob = {
    hiddenBytes: 0,
    get spareParts() {
      return spare;
    },
    dropParts: () => void (dropped += 1),
  };
  open.set(1, { index: index(), cache, source: { blob } });
  spare = undefined;
  cacheLimit.enforce();
  expect(dropped).toBe(0);
  spare = { bytes: 2 << 20, lastUse: PAST };
  cacheLimit.enforce();
  expect(dropped).toBe(1);
});

test('large files that are kept apart count, and go with nobody holding their layer', async () => {
  const { directory, cacheLimit, add, close, held, keepApart } = layersOf(16 << 20);
  const cache = await add(1);
  await add(2);
  await add(3);
  for (const number of [1, 2, 3]) keepApart(number, 5 << 20);
  for (const number of [2, 3]) {
    close(number);
    utimesSync(join(directory, String(number), 'present'), PAST, PAST);
  }
  held.add(2);
  expect(cacheLimit.size()).toBeGreaterThan(20 << 20);
  expect(cacheLimit.roomForBlobs).toBeLessThanOrEqual(1 << 20);
  cacheLimit.enforce();
  const left = [1, 2, 3].filter((n) => existsSync(join(directory, String(n), 'files')));
  expect(left).toEqual([1, 2]);
  expect(presentIn(cache).length).toBeGreaterThan(0);
});

test('whole blobs count, stay, and leave a little to spans', async () => {
  const { cacheLimit, add } = layersOf(16 << 20, 15 << 20);
  const cache = await add(1);
  expect(cacheLimit.size()).toBeGreaterThan(16 << 20);
  cacheLimit.enforce();
  expect(cacheLimit.size()).toBeLessThanOrEqual(16 << 20);
  expect(presentIn(cache).length).toBeGreaterThan(0);
  expect(cacheLimit.roomForBlobs).toBe(1 << 20);
  const full = layersOf(16 << 20, 32 << 20);
  const other = await full.add(1);
  full.cacheLimit.enforce();
  expect(presentIn(other).length).toBeGreaterThan(0);
});

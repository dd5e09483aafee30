import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { SpanCache } from '#src/index/span-cache.js';
import { temporaryFolder } from './support/layers.js';

const bounds = Float64Array.of(0, 10, 30, 35);
/** Where the boot id is in the file `present`, and where its states begin. */
const BOOT_ID_AT = 64;
const STATES_AT = 128;

test('what is written is there when it is opened again', async () => {
  const folder = join(temporaryFolder(), 'new', 'cache');
  const cache = SpanCache.open(folder, bounds);
  expect(cache.has(1)).toBe(false);
  await cache.write(1, 10, Buffer.alloc(20, 'x'));
  expect([...new Uint8Array(cache.presence)].map(Boolean)).toEqual([false, true, false]);
  expect(cache.presentBytes()).toBe(20);
  cache.close();

  using again = SpanCache.open(folder, bounds);
  expect([again.has(0), again.has(1), again.has(2)]).toEqual([false, true, false]);
  expect(again.presentBytes()).toBe(20);
  expect(readFileSync(again.dataPath).subarray(10, 30).toString()).toBe('x'.repeat(20));
  expect(statSync(again.dataPath).size).toBe(35);
});

test('a crash of the process loses nothing', async () => {
  const folder = temporaryFolder();
  using cache = SpanCache.open(folder, bounds);
  await cache.write(0, 0, Buffer.alloc(10));
  // Not closed, not synced: as after SIGKILL.
  using again = SpanCache.open(folder, bounds);
  expect(again.has(0)).toBe(true);
});

test('after a crash of the machine only what was synced counts', async () => {
  const folder = temporaryFolder();
  const cache = SpanCache.open(folder, bounds);
  await cache.write(0, 0, Buffer.alloc(10));
  cache.sync();
  await cache.write(1, 10, Buffer.alloc(20));
  const record = readFileSync(join(folder, 'present'));
  cache.close();
  record.write('another boot', BOOT_ID_AT);
  writeFileSync(join(folder, 'present'), record);

  using again = SpanCache.open(folder, bounds);
  expect([again.has(0), again.has(1)]).toEqual([true, false]);
  expect(again.presentBytes()).toBe(10);
});

test.each<[string, (folder: string) => void]>([
  ['of another layer', (folder) => SpanCache.open(folder, Float64Array.of(0, 10, 30, 36)).close()],
  [
    'of as many spans that begin elsewhere',
    (folder) => SpanCache.open(folder, Float64Array.of(0, 5, 30, 35)).close(),
  ],
  [
    'with a record that is cut',
    (folder) =>
      writeFileSync(
        join(folder, 'present'),
        readFileSync(join(folder, 'present')).subarray(0, STATES_AT + 1),
      ),
  ],
  ['without its data', (folder) => writeFileSync(join(folder, 'data'), '')],
])('one %s is emptied', async (_, change) => {
  const folder = temporaryFolder();
  const cache = SpanCache.open(folder, bounds);
  await cache.write(0, 0, Buffer.alloc(10, 'x'));
  cache.close();
  change(folder);
  using again = SpanCache.open(folder, bounds);
  expect(again.has(0)).toBe(false);
  expect(readFileSync(again.dataPath)).toEqual(Buffer.alloc(35));
});

test('what is evicted gives its disk space back, is absent from then on, and can be written again', async () => {
  const folder = temporaryFolder();
  const size = 1 << 20;
  const large = Float64Array.of(0, size, 2 * size, 3 * size);
  const cache = SpanCache.open(folder, large);
  for (const span of [0, 1, 2]) await cache.write(span, span * size, Buffer.alloc(size, span + 1));
  const before = statSync(cache.dataPath).blocks * 512;
  expect(cache.evict([1])).toBe(true);
  expect(before - statSync(cache.dataPath).blocks * 512).toBe(size);
  expect(cache.presentBytes()).toBe(2 * size);
  expect(statSync(cache.dataPath).size).toBe(3 * size);
  cache.close();

  using again = SpanCache.open(folder, large);
  expect([again.has(0), again.has(1), again.has(2)]).toEqual([true, false, true]);
  const bytes = readFileSync(again.dataPath);
  expect([bytes[size - 1], bytes[size], bytes[2 * size - 1], bytes[2 * size]]).toEqual([
    1, 0, 0, 3,
  ]);
  await again.write(1, size, Buffer.alloc(size, 2));
  expect(readFileSync(again.dataPath)[size]).toBe(2);
});

test('nothing is evicted while another has the cache open', async () => {
  const folder = temporaryFolder();
  using cache = SpanCache.open(folder, bounds);
  await cache.write(0, 0, Buffer.alloc(10, 'x'));
  const other = SpanCache.open(folder, bounds);
  expect(cache.evict([0])).toBe(false);
  expect([cache.has(0), other.has(0)]).toEqual([true, true]);
  expect(other.evict([0])).toBe(false);
  other.close();
  expect(cache.evict([0])).toBe(true);
});

test('the time of the last use is kept, as one for all spans', async () => {
  const folder = temporaryFolder();
  const cache = SpanCache.open(folder, bounds);
  await cache.write(0, 0, Buffer.alloc(10));
  new Uint32Array(cache.used).set([1_000, 2_000, 3_000]);
  expect([0, 1, 2].map((span) => cache.lastUse(span))).toEqual([1_000, 2_000, 3_000]);
  cache.close();
  using again = SpanCache.open(folder, bounds);
  expect([0, 1, 2].map((span) => again.lastUse(span))).toEqual([3_000, 3_000, 3_000]);
});

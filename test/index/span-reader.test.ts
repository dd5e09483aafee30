import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { expect, onTestFinished, test } from 'vitest';
import type { BlobSource } from '#src/common/blob-source.js';
import type { FetchClass, Urgency } from '#src/common/urgency.js';
import type { LayerIndex } from '#src/index/layer-index.js';
import { SpanCache } from '#src/index/span-cache.js';
import { SpanReader } from '#src/index/span-reader.js';
import { indexOf, memorySource, temporaryFolder } from './support/layers.js';
import { file, tarOf } from './support/tar-bytes.js';

const SPAN_SIZE = 128 << 10;
const tar = tarOf(file('random', randomBytes(12 << 20)));
const blob = gzipSync(tar, { level: 1 });
const signal = AbortSignal.timeout(60_000);

interface Read {
  first: number;
  last: number;
  of: FetchClass | undefined;
}

/** A reader of a remote blob, with a list of the spans that were asked for. */
function remoteReader(options: { requestCost?: number } = {}) {
  const index = indexOf(blob, { spanSize: SPAN_SIZE });
  const cache = SpanCache.open(join(temporaryFolder(), 'cache'), index.spanBounds);
  const memory = memorySource(blob, { delay: 5 });
  const reads: Read[] = [];
  const urgencies: (Urgency | undefined)[] = [];
  const source: BlobSource = {
    ...memory,
    local: false,
    ...options,
    read: (offset, length, stop, urgency) => {
      urgencies.push(urgency);
      reads.push({ ...spansOf(index, offset, length), of: urgency?.class });
      return memory.read(offset, length, stop);
    },
  };
  const reader = new SpanReader({ index, cache, source });
  onTestFinished(async () => {
    await reader.close();
    cache.close();
  });
  return { index, cache, reader, reads, urgencies };
}

function spansOf(index: LayerIndex, offset: number, length: number) {
  const spans = Array.from({ length: index.info.spanCount }, (_, number) => index.span(number));
  const first = spans.findIndex((span) => span.blobOffset === offset);
  const last = spans.findLastIndex((span) => span.blobOffset + span.blobLength === offset + length);
  return { first, last };
}

test('64 readers of one missing span make one request', async () => {
  const { reader, reads } = remoteReader();
  await Promise.all(
    Array.from({ length: 64 }, () => reader.ensure(7, 7, AbortSignal.timeout(60_000))),
  );
  expect(reads).toEqual([{ first: 7, last: 7, of: 'waiting' }]);
});

test('who reads in order finds the next spans on their way, in ever larger requests', async () => {
  const { index, cache, reader, reads } = remoteReader();
  const { spanCount, blobSize } = index.info;
  let found = 0;
  for (let span = 0; span < spanCount; span += 1) {
    if (cache.has(span)) found += 1;
    else await reader.ensure(span, span, signal);
  }
  expect(reads[0]).toEqual({ first: 0, last: 0, of: 'waiting' });
  expect(reads.some(({ of, first, last }) => of === 'prefetch' && last > first)).toBe(true);
  // Far fewer requests than spans, most spans here before they are wanted, and nothing twice.
  expect(reads.length).toBeLessThan(spanCount / 3);
  expect(found).toBeGreaterThan(spanCount / 2);
  expect(reader.fetchedBytes).toBeLessThanOrEqual(blobSize * 1.05);
  const fetched = reads.flatMap(({ first, last }) =>
    Array.from({ length: last - first + 1 }, (_, i) => first + i),
  );
  expect(new Set(fetched).size).toBe(fetched.length);
});

test('reads here and there fetch nothing ahead', async () => {
  const { reader, reads } = remoteReader();
  const wanted = [60, 10, 33, 80, 20, 50, 70];
  for (const span of wanted) await reader.ensure(span, span, signal);
  expect(reads).toEqual(wanted.map((span) => ({ first: span, last: span, of: 'waiting' })));
});

test('holes are fetched as one where another request costs more than what lies between', async () => {
  const { index, reader, reads } = remoteReader({ requestCost: 300_000 });
  await reader.ensure(4, 4, signal, 'prefetch');
  await reader.ensure(11, 13, signal, 'prefetch');
  reads.length = 0;
  // Span 4 costs less to read again than another request; spans 11 to 13 cost more.
  expect(index.span(4).blobLength).toBeLessThan(300_000);
  await reader.ensure(3, 14, signal, 'prefetch');
  expect(reads).toEqual([
    { first: 3, last: 10, of: 'prefetch' },
    { first: 14, last: 14, of: 'prefetch' },
  ]);
});

test('what is read twice for the sake of fewer requests stays a small part of the layer', async () => {
  const { index, reader } = remoteReader({ requestCost: 1 << 20 });
  const { spanCount, blobSize } = index.info;
  for (let span = 0; span < spanCount; span += 2)
    await reader.ensure(span, span, signal, 'prefetch');
  await reader.ensure(0, spanCount - 1, signal, 'prefetch');
  expect(reader.fetchedBytes).toBeGreaterThan(blobSize);
  expect(reader.fetchedBytes).toBeLessThanOrEqual(blobSize * 1.05);
});

test('a span that is fetched ahead becomes urgent when a read wants it', async () => {
  const { reader, reads, urgencies } = remoteReader();
  const ahead = reader.ensure(3, 3, signal, 'prefetch');
  const read = reader.ensure(3, 3, signal);
  await Promise.all([ahead, read]);
  expect(reads).toHaveLength(1);
  expect(urgencies[0]?.class).toBe('waiting');
});

test.each([
  [1, true],
  [2, true],
  [3, false],
])('wrong bytes are asked for elsewhere: %d hosts flip a bit', async (liars, succeeds) => {
  const index = indexOf(blob, { spanSize: SPAN_SIZE });
  const cache = SpanCache.open(join(temporaryFolder(), 'cache'), index.spanBounds);
  const memory = memorySource(blob);
  const flipping: BlobSource = {
    ...memory,
    local: false,
    read: async (offset, length, stop) => {
      const bytes = Buffer.from(await memory.read(offset, length, stop));
      const middle = bytes.length >> 1;
      bytes[middle] = (bytes[middle] ?? 0) ^ 1;
      return bytes;
    },
  };
  const asked: number[] = [];
  const source: BlobSource = {
    ...flipping,
    elsewhere: (rejected) => {
      asked.push(rejected);
      return rejected < liars ? flipping : memory;
    },
  };
  const reader = new SpanReader({ index, cache, source });
  onTestFinished(async () => {
    await reader.close();
    cache.close();
  });
  const outcome = reader.ensure(3, 3, signal);
  if (succeeds) await outcome;
  else await expect(outcome).rejects.toMatchObject({ code: 'corrupt' });
  expect(cache.has(3)).toBe(succeeds);
  expect(asked).toEqual([1, 2].slice(0, liars));
});

test('4 KiB anywhere of a blob on this disk take one inflate of the span that holds them, and none again', async () => {
  const index = indexOf(blob);
  const cache = SpanCache.open(join(temporaryFolder(), 'cache'), index.spanBounds);
  const source = memorySource(blob);
  const reader = new SpanReader({ index, cache, source });
  onTestFinished(async () => {
    await reader.close();
    cache.close();
  });
  expect(index.info).toMatchObject({ spanSize: 1 << 20, spanCount: 12 });
  const present = new Set<number>();
  for (const number of [4, 1, 2, 5, 0, 4, 1, 3]) {
    const [reads, decoded] = [source.reads.length, reader.decodedBytes];
    const { tarOffset, tarLength, blobOffset, blobLength } = index.span(number);
    const offset = tarOffset + Math.floor(Math.random() * (tarLength - 4096));
    await reader.ensure(index.spanAt(offset), index.spanAt(offset + 4095), signal);
    const isNew = !present.has(number);
    expect(reader.decodedBytes - decoded).toBe(isNew ? tarLength : 0);
    expect(source.reads.slice(reads)).toEqual(isNew ? [[blobOffset, blobLength]] : []);
    present.add(number);
  }
  expect(reader.fetchedSpans).toBe(present.size);
});

test('what cannot be fetched ahead leaves alone what is waited for', async () => {
  const { cache, reader } = remoteReader();
  await reader.ensure(0, 0, signal);
  cache.refresh = (_, last) => {
    if (last > 2) throw new Error('the cache is damaged');
  };
  await reader.ensure(1, 1, signal);
  await reader.ensure(2, 2, signal);
  expect(cache.has(2)).toBe(true);
});

test.each([
  ['compressed', blob],
  ['plain', tar],
])('memory that a %s blob is read into is free when its spans are stored', async (_, bytes) => {
  const index = indexOf(bytes, { spanSize: SPAN_SIZE });
  using cache = SpanCache.open(join(temporaryFolder(), 'cache'), index.spanBounds);
  const source: BlobSource = {
    ...memorySource(bytes),
    read: () => Promise.reject(new Error('it is not read into memory')),
    async readInto(offset, target) {
      await setImmediate();
      target.set(bytes.subarray(offset, offset + target.length));
    },
  };
  const reader = new SpanReader({ index, cache, source });
  const spans = Array.from({ length: index.info.spanCount }, (_, number) => number);
  const ensure = (number: number) => reader.ensure(number, number, AbortSignal.timeout(60_000));
  await Promise.all(spans.map(ensure));
  await reader.close();
  expect(readFileSync(cache.dataPath).equals(tar)).toBe(true);
});

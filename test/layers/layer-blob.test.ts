import { randomBytes } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { appendFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { BlobSource } from '#src/common/blob-source.js';
import { SiphonError } from '#src/common/errors.js';
import { silentLogger } from '#src/common/log.js';
import { Urgency } from '#src/common/urgency.js';
import { BlobParts } from '#src/layers/blob-parts.js';
import { LayerBlob } from '#src/layers/layer-blob.js';
import { memorySource, piecesOf, temporaryFolder } from '../index/support/layers.js';
import { collect } from '../support/collect.js';

const MIB = 1 << 20;
const blob = randomBytes(5 * MIB + 12_345);
const { signal } = new AbortController();
setMaxListeners(0, signal);

/** A blob read from elsewhere, with a list of the ranges that were asked for, and bytes per stream. */
async function remoteBlob(
  options: {
    directory?: string;
    keeps?: boolean;
    hasRanges?: boolean;
    requestCost?: number;
    liars?: number;
  } = {},
) {
  const { directory = temporaryFolder(), keeps = true, hasRanges = true, liars = 0 } = options;
  const memory = memorySource(blob, { delay: 5 });
  const reads: [from: number, to: number][] = [];
  const urgencies: (Urgency | undefined)[] = [];
  const streams: number[] = [];
  const hostAt = (rejected: number): BlobSource => {
    const told = Buffer.from(blob);
    if (rejected < liars) told[MIB] = (told[MIB] ?? 0) ^ 1;
    return {
      ...memory,
      local: false,
      requestCost: options.requestCost ?? 0,
      read: async (offset, length, stop, urgency) => {
        if (!hasRanges) throw new SiphonError('unsupported', 'no ranges');
        reads.push([offset, offset + length]);
        urgencies.push(urgency);
        await memory.read(offset, length, stop);
        return Buffer.from(told.subarray(offset, offset + length));
      },
      stream: async function* () {
        streams.push(rejected);
        yield* piecesOf(told);
      },
      elsewhere: hostAt,
    };
  };
  const parts = keeps ? await BlobParts.open(directory, blob.length) : undefined;
  const source = new LayerBlob({ remote: hostAt(0), parts, directory, log: silentLogger });
  onTestFinished(() => source.close());
  const expectRead = async (from: number, to: number, urgency?: Urgency): Promise<void> => {
    const bytes = await source.read(from, to - from, signal, urgency);
    expect(bytes.equals(blob.subarray(from, to))).toBe(true);
  };
  return { source, reads, urgencies, streams, directory, expectRead };
}

/** Bytes that were asked for, and those that were asked for more than once. */
function askedFor(reads: readonly [number, number][]): { total: number; twice: number } {
  const total = reads.reduce((sum, [from, to]) => sum + to - from, 0);
  const seen = new Uint8Array(blob.length);
  for (const [from, to] of reads) seen.subarray(from, to).fill(1);
  return { total, twice: total - seen.reduce((sum, one) => sum + one, 0) };
}

test('no byte is asked for twice, whoever reads, fills, or does both at once', async () => {
  const { source, reads, expectRead } = await remoteBlob();
  const places = Array.from({ length: 40 }, (_, n) => (n * 7_919_113) % (blob.length - 300_000));
  const filling = (async () => {
    while (await source.fill(signal));
  })();
  await Promise.all([...places.map((at) => expectRead(at, at + 300_000)), filling]);
  expect(askedFor(reads)).toEqual({ total: blob.length, twice: 0 });
  expect(source.present).toBe(blob.length);
  await expectRead(0, blob.length);
  expect(askedFor(reads).total).toBe(blob.length);
});

test('nothing is kept where it is not to be', async () => {
  const { reads, directory, expectRead } = await remoteBlob({ keeps: false });
  await expectRead(5, 500);
  await expectRead(5, 500);
  expect(reads).toHaveLength(2);
  expect(readdirSync(directory)).toEqual([]);
});

test('a fill goes on where the one before ended, also after a crash', async () => {
  const { source, directory } = await remoteBlob();
  await source.fill(signal);
  await source.fill(signal);
  const before = source.present;
  await source.close();
  // A record of which a part was written.
  appendFileSync(join(directory, 'parts'), Buffer.alloc(7, 1));
  const again = await remoteBlob({ directory });
  expect(again.source.present).toBe(before);
  while (await again.source.fill(signal));
  expect(askedFor(again.reads)).toEqual({ total: blob.length - before, twice: 0 });
  await again.expectRead(0, blob.length);
});

test('parts belong to one process at a time', async () => {
  const { directory } = await remoteBlob();
  expect(await BlobParts.open(directory, blob.length)).toBeUndefined();
});

test('a fill that a read wants becomes urgent', async () => {
  const { source, urgencies, expectRead } = await remoteBlob();
  const filling = source.fill(signal);
  await expectRead(10, 20);
  await filling;
  expect(urgencies.map((urgency) => urgency?.class)).toEqual(['waiting']);
});

test('a fill takes many small holes in one request where that is cheaper', async () => {
  const { source, reads, expectRead } = await remoteBlob({ requestCost: 1000 });
  for (let at = 0; at < 200_000; at += 20_000) await expectRead(at + 1000, at + 2000);
  await expect.poll(() => source.present).toBe(10_000);
  reads.length = 0;
  await source.fill(signal);
  expect(reads).toEqual([[0, MIB]]);
  const dear = await remoteBlob({ requestCost: 10 });
  await dear.expectRead(5000, 9000);
  await expect.poll(() => dear.source.present).toBe(4000);
  dear.reads.length = 0;
  await dear.source.fill(signal);
  expect(dear.reads).toEqual([[0, 5000]]);
});

test('who gives up ends a request that nobody else waits for', async () => {
  const { source, expectRead } = await remoteBlob();
  const abort = new AbortController();
  const alone = source.read(0, 1000, abort.signal);
  abort.abort(new SiphonError('cancelled', 'enough'));
  await expect(alone).rejects.toMatchObject({ code: 'cancelled' });
  await expectRead(0, 1000);
});

test.each([true, false])(
  'a server without ranges is streamed from once, for all readers (kept: %s)',
  async (keeps) => {
    const { streams, directory, expectRead } = await remoteBlob({ hasRanges: false, keeps });
    const places = Array.from({ length: 100 }, (_, n) => (n * 7_919_113) % (blob.length - 4096));
    await Promise.all(places.map((at) => expectRead(at, at + 4096)));
    for (const at of places) await expectRead(at, at + 4096);
    expect(streams).toEqual([0]);
    expect(readdirSync(directory).filter((name) => name.startsWith('stream-'))).toEqual([]);
  },
);

test('a server without ranges serves a process that may not keep the parts', async () => {
  const { directory } = await remoteBlob();
  const { source, streams, expectRead } = await remoteBlob({
    directory,
    keeps: false,
    hasRanges: false,
  });
  await expectRead(70_000, 90_000);
  await expectRead(blob.length - 10, blob.length);
  expect(streams).toEqual([0]);
  expect(await source.claim()).toBeUndefined();
  expect(readdirSync(directory).toSorted()).toEqual(['blob', 'parts']);
});

test.each([true, false])(
  'bytes from elsewhere take the place of wrong ones (ranges: %s)',
  async (hasRanges) => {
    const { source, streams, expectRead } = await remoteBlob({ liars: 1, hasRanges });
    const wrong = await source.read(MIB - 10, 20, signal);
    expect(wrong.equals(blob.subarray(MIB - 10, MIB + 10))).toBe(false);
    const right = await source.elsewhere(1).read(MIB - 10, 20, signal);
    expect(right.equals(blob.subarray(MIB - 10, MIB + 10))).toBe(true);
    await expectRead(MIB - 10, MIB + 10);
    expect(streams).toEqual(hasRanges ? [] : [0, 1]);
  },
);

test.each(['waiting', 'fill'] as const)('comes in order as a whole (%s)', async (of) => {
  const { source, reads, streams, expectRead } = await remoteBlob();
  expect((await collect(source.stream(signal, 0, new Urgency(of)))).equals(blob)).toBe(true);
  expect(streams).toHaveLength(of === 'waiting' ? 1 : 0);
  const before = reads.length;
  await expectRead(0, blob.length);
  expect(reads).toHaveLength(before);
});

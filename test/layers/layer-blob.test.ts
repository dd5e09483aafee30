import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { appendFileSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { BlobSource } from '#src/common/blob-source.js';
import { digestOf } from '#src/common/digest.js';
import { SiphonError } from '#src/common/errors.js';
import { type Logger, silentLogger } from '#src/common/log.js';
import { Urgency } from '#src/common/urgency.js';
import { ContentStore } from '#src/content/content-store.js';
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
    /** Called before each piece of a stream. */
    pace?: (rejected: number) => Promise<void>;
    /** Before each range is sent. */
    wait?: () => Promise<void>;
    log?: Logger;
  } = {},
) {
  const { directory = temporaryFolder(), keeps = true, hasRanges = true, liars = 0 } = options;
  const { log = silentLogger } = options;
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
        await options.wait?.();
        return Buffer.from(told.subarray(offset, offset + length));
      },
      stream: async function* () {
        streams.push(rejected);
        for await (const piece of piecesOf(told)) {
          await options.pace?.(rejected);
          yield piece;
        }
      },
      elsewhere: hostAt,
    };
  };
  const parts = keeps ? await BlobParts.open(directory, blob.length) : undefined;
  const source = new LayerBlob({ remote: hostAt(0), parts, directory, log });
  onTestFinished(() => source.close());
  const expectRead = async (from: number, to: number, urgency?: Urgency): Promise<void> => {
    const bytes = await source.read(from, to - from, signal, urgency);
    expect(bytes.equals(blob.subarray(from, to))).toBe(true);
  };
  return { source, parts, reads, urgencies, streams, directory, expectRead };
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
  expect(await source.claim()).toBe(false);
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

test('what is here is asked for again for a small part of the blob only, however dear requests are', async () => {
  const { source, reads, expectRead } = await remoteBlob({ requestCost: MIB });
  for (let at = 0; at + 50_000 < blob.length; at += 100_000) await expectRead(at, at + 50_000);
  await source.written();
  while (await source.fill(signal));
  const { total, twice } = askedFor(reads);
  expect(twice).toBeGreaterThan(0);
  expect(total).toBeLessThanOrEqual(blob.length * 1.05);
});

test('a stream of a host that sent a wrong byte ends when that is found, and is waited for by nobody', async () => {
  let sent = 0;
  const { source, streams, expectRead } = await remoteBlob({
    hasRanges: false,
    liars: 1,
    // The first host stands still behind the wrong byte.
    pace: (rejected) =>
      rejected === 0 && (sent += 64 << 10) > 2 * MIB ? new Promise(() => {}) : Promise.resolve(),
  });
  const wrong = await source.read(MIB - 10, 20, signal);
  expect(wrong.equals(blob.subarray(MIB - 10, MIB + 10))).toBe(false);
  const behind = expectRead(3 * MIB, 4 * MIB);
  const right = await source.elsewhere(1).read(MIB - 10, 20, signal);
  expect(right.equals(blob.subarray(MIB - 10, MIB + 10))).toBe(true);
  await behind;
  expect(streams).toEqual([0, 1]);
  await expectRead(0, blob.length);
  expect(streams).toEqual([0, 1]);
});

test('what was on its way when all was found wrong is not kept', async () => {
  let go: () => void = () => undefined;
  const held = new Promise<void>((resolve) => (go = resolve));
  const { source, parts, expectRead } = await remoteBlob({ liars: 1, wait: () => held });
  const late = source.read(MIB - 10, 20, signal);
  await source.drawAnew(1);
  go();
  await late;
  await source.written();
  expect(source.present).toBe(0);
  // Nor is what is being written at that moment.
  const written = parts?.write(0, Buffer.alloc(MIB));
  await source.drawAnew(1);
  await written;
  expect(source.present).toBe(0);
  await expectRead(0, blob.length);
});

test('what is checked takes no more bytes, also after it has become part of the content store', async () => {
  const { source, parts, directory } = await remoteBlob();
  const content = await ContentStore.open(directory);
  while (await source.fill(signal));
  await source.claim();
  const { path, digest } = await source.seal(signal);
  expect(digest).toBe(digestOf(blob));
  await parts?.write(5, Buffer.alloc(100));
  expect(digestOf(readFileSync(path))).toBe(digest);
  await source.moveInto(content, digest);
  await parts?.write(5, Buffer.alloc(100));
  await source.elsewhere(1).read(0, MIB, signal);
  expect(digestOf(readFileSync(content.path(digest)))).toBe(digest);
  expect(source.spareParts).toBeUndefined();
});

/** A file system with no room for the blob, where this process may mount one. */
function smallDisk(megabytes: number): string {
  const folder = temporaryFolder();
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', folder]);
  onTestFinished(() => void execFileSync('umount', [folder]));
  return folder;
}

test.skipIf(process.getuid?.() !== 0).each([true, false])(
  'a full disk is read past, of a server that sends ranges: %s (needs root)',
  async (hasRanges) => {
    const directory = smallDisk(1);
    const warnings: string[] = [];
    const warn = (_: object, message: string): void => void warnings.push(message);
    const log = { ...silentLogger, warn } as Logger;
    const { streams, expectRead } = await remoteBlob({ directory, hasRanges, log });
    const places = Array.from({ length: 20 }, (_, n) => (n * 7_919_113) % (blob.length - 4096));
    await Promise.all(places.map((at) => expectRead(at, at + 4096)));
    expect(streams).toEqual(hasRanges ? [] : [0]);
    // In order, while the stream goes on, and backwards.
    for (const at of [0, MIB, 2 * MIB, 4 * MIB, 0]) await expectRead(at, at + MIB);
    expect(streams.length).toBeLessThanOrEqual(hasRanges ? 0 : 4);
    expect(warnings).toEqual(['parts of the blob are not kept, reads draw them again']);
  },
);

test('parts give way, but not while anybody uses them', async () => {
  const { source, expectRead } = await remoteBlob();
  expect(source.spareParts?.bytes).toBe(0);
  const reading = expectRead(0, MIB);
  expect(source.spareParts).toBeUndefined();
  await reading;
  await expect.poll(() => source.spareParts?.bytes).toBe(MIB);
  expect(source.spareParts?.lastUse).toBeGreaterThan(Date.now() / 1000 - 60);
  await source.claim();
  expect(source.spareParts).toBeUndefined();
  source.release();
  source.dropParts();
  expect(source.present).toBe(0);
  await expectRead(0, MIB);
});

test('parts give way that stand beside a whole blob that somebody else has brought here', async () => {
  const { source, parts, expectRead } = await remoteBlob();
  await expectRead(0, MIB);
  await source.written();
  source.moveTo({ ...memorySource(blob), local: true });
  expect(source.spareParts?.bytes).toBe(MIB);
  source.dropParts();
  expect(parts?.present).toBe(0);
  await expectRead(0, MIB);
});

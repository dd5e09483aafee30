import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, onTestFinished, test, vi } from 'vitest';
import type { BlobSource } from '#src/common/blob-source.js';
import { digestOf } from '#src/common/digest.js';
import { type Logger, silentLogger } from '#src/common/log.js';
import { ContentStore } from '#src/content/content-store.js';
import { BackgroundFill, type FilledLayer } from '#src/layers/background-fill.js';
import { BlobParts } from '#src/layers/blob-parts.js';
import { LayerBlob } from '#src/layers/layer-blob.js';
import type { LayerSource } from '#src/layers/layer-source.js';
import { memorySource, temporaryFolder } from '../index/support/layers.js';

const MIB = 1 << 20;

/** A fill of layers whose blobs come from `read`. */
async function filling(room = () => Number.POSITIVE_INFINITY, log = silentLogger) {
  const root = temporaryFolder();
  const content = await ContentStore.open(root);
  const directoryOf = (number: number): string => join(root, String(number));
  const indexPathOf = (number: number): string => join(directoryOf(number), 'index.db');
  const refuse = (): void => undefined;
  const places = { content, directoryOf, indexPathOf };
  const whole = (): Promise<void> => Promise.resolve();
  const fill = new BackgroundFill({ ...places, delay: 0, room, whole, refuse, log });
  const layer = async (number: number, read: BlobSource['read'], blob: Buffer) => {
    const directory = directoryOf(number);
    mkdirSync(directory);
    const parts = await BlobParts.open(directory, blob.length);
    const memory = memorySource(blob);
    const remote = { ...memory, local: false, read, elsewhere: () => remote };
    const source = new LayerBlob({ remote, parts, directory, log });
    const closing = new AbortController();
    const filled = {
      record: { number, blobDigest: digestOf(blob), blobSize: blob.length, identity: 'content' },
      index: { info: { format: 'siphon', tarSize: 0 } },
      source: { open: () => Promise.resolve(source), blob: source } as unknown as LayerSource,
      completion: undefined,
      closing,
    } as unknown as FilledLayer; // what the fill looks at
    onTestFinished(async () => {
      closing.abort();
      await fill.settled(filled);
      await source.close();
    });
    return { filled, source, closing };
  };
  return { fill, layer, content };
}

test('a layer is closed at once while another one is drawn anew from a registry that is gone', async () => {
  const { fill, layer } = await filling();
  const blob = randomBytes(MIB);
  let reads = 0;
  const wrongThenGone: BlobSource['read'] = async (_, length, signal) => {
    if (reads++ === 0) return Buffer.alloc(length);
    await delay(3_600_000, undefined, { signal, ref: false });
    return Buffer.alloc(length);
  };
  const stuck = await layer(1, wrongThenGone, blob);
  const other = randomBytes(MIB);
  const right: BlobSource['read'] = (at, length) =>
    Promise.resolve(Buffer.from(other.subarray(at, at + length)));
  const behind = await layer(2, right, other);
  fill.begin(stuck.filled);
  await expect.poll(() => reads).toBe(2);
  fill.begin(behind.filled);
  await expect.poll(() => behind.source.present).toBe(MIB);
  for (const { closing, filled } of [behind, stuck]) {
    closing.abort();
    expect(await Promise.race([fill.settled(filled), delay(5000, 'waits')])).toBeUndefined();
  }
});

test('a layer that another process brings just before it is claimed is not brought again', async () => {
  const { fill, layer, content } = await filling();
  const blob = randomBytes(MIB);
  let reads = 0;
  const read: BlobSource['read'] = () => Promise.reject(new Error(`read ${(reads += 1)}`));
  const { filled, source } = await layer(1, read, blob);
  const path = join(temporaryFolder(), 'blob');
  writeFileSync(path, blob);
  await content.adopt(path, digestOf(blob));
  vi.spyOn(content, 'has').mockResolvedValueOnce(false);
  fill.begin(filled);
  await expect.poll(() => source.present).toBe(MIB);
  expect(reads).toBe(0);
});

test('a layer for which there is no room is left, until there is', async () => {
  let room = MIB;
  const said: string[] = [];
  const info = (_: object, message: string): void => void said.push(message);
  const { fill, layer } = await filling(() => room, { ...silentLogger, info } as Logger);
  const blob = randomBytes(2 * MIB);
  const read: BlobSource['read'] = (at, length) =>
    Promise.resolve(Buffer.from(blob.subarray(at, at + length)));
  const { filled, source } = await layer(1, read, blob);
  fill.begin(filled);
  await expect.poll(() => said).toEqual(['layer is not whole yet']);
  expect(source.present).toBe(0);
  expect(source.spareParts).toBeDefined();
  room = 2 * MIB;
  await expect.poll(() => source.present, { interval: 200 }).toBe(2 * MIB);
});

test('of layers that do not fit together one comes whole, and the others wait for room', async () => {
  const limit = 60 * MIB;
  const sources: { readonly present: number }[] = [];
  const room = (): number => limit - sources.reduce((sum, { present }) => sum + present, 0);
  const { fill, layer } = await filling(room);
  const layers = [];
  for (const number of [1, 2]) {
    const blob = Buffer.alloc(40 * MIB, number);
    const read: BlobSource['read'] = (at, length) =>
      Promise.resolve(Buffer.from(blob.subarray(at, at + length)));
    layers.push(await layer(number, read, blob));
  }
  sources.push(...layers.map(({ source }) => source));
  for (const { filled } of layers) fill.begin(filled);
  const presentOf = (): number[] => sources.map(({ present }) => present).toSorted((a, b) => a - b);
  await expect.poll(presentOf).toEqual([0, 40 * MIB]);
});

import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { BlobSource } from '#src/common/blob-source.js';
import { digestHex, digestOf } from '#src/common/digest.js';
import { ContentStore } from '#src/content/content-store.js';
import { LayerIndex } from '#src/index/layer-index.js';
import { LayerStore } from '#src/layers/layer-store.js';
import { streamLayer } from '#src/layers/stream-layer.js';
import { listingOf, memorySource } from '../index/support/layers.js';
import { file, noise, tarOf } from '../support/images.js';
import { type TemporaryFolder, temporaryFolder } from '../support/temporary-folder.js';

const tar = await tarOf([file('a', noise(600_000)), file('b', 'b')]);
const blob = gzipSync(tar);
const digest = digestOf(blob);
const whole = ['100644 a', '100644 b'];
const { signal } = new AbortController();

let folder: TemporaryFolder;
let content: ContentStore;
let layers: LayerStore;
beforeEach(async () => {
  folder = await temporaryFolder();
  content = await ContentStore.open(folder.path);
  layers = LayerStore.open(folder.path);
});
afterEach(async () => {
  layers[Symbol.dispose]();
  await folder[Symbol.asyncDispose]();
});

/** A registry's blob; notes where it is read from, and breaks before the byte `end`. */
function remote(bytes: Buffer = blob, end = Infinity): BlobSource & { begun: number[] } {
  const begun: number[] = [];
  return {
    ...memorySource(bytes),
    local: false,
    begun,
    async *stream(_, from = 0) {
      begun.push(from);
      for (let at = from; at < bytes.length; at += 50_000) {
        if (at >= end) throw new Error('connection lost');
        yield bytes.subarray(at, at + 50_000);
      }
    },
  };
}

/** @returns how far it was at each piece */
async function stream(source: BlobSource): Promise<number[]> {
  const record = layers.register(
    {
      blobDigest: digest,
      identity: 'content',
      blobSize: blob.length,
      mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
      origin: { kind: 'registry', host: 'host', repository: 'app', plainHttp: true },
    },
    true,
  );
  const progress: number[] = [];
  await streamLayer(source, {
    record,
    diffId: undefined,
    output: layers.indexPath(record.number),
    content,
    onBytes: (done) => progress.push(done),
    signal,
  });
  return progress;
}

function listing(): string[] {
  const number = layers.find(digest)?.number ?? 0;
  using index = LayerIndex.open(layers.indexPath(number));
  return listingOf(index);
}

function ingests(): Promise<string[]> {
  return readdir(join(folder.path, 'content/ingest'));
}

it('goes on where an earlier pass was cut off', async () => {
  await expect(stream(remote(blob, 300_000))).rejects.toThrow('connection lost');
  expect(await content.ingests()).toMatchObject([{ ref: digest, offset: 300_000 }]);
  const source = remote();
  const progress = await stream(source);
  expect(source.begun).toEqual([300_000]);
  expect(progress.at(-1)).toBe(blob.length);
  expect(listing()).toEqual(whole);
  expect(digestOf(await content.read(digest))).toBe(digest);
  expect(await ingests()).toEqual([]);
});

it('begins anew where what was left is damaged', async () => {
  const left = join(folder.path, 'content/ingest', digestHex(digest));
  await writeFile(left, Buffer.alloc(100_000));
  await writeFile(`${left}.json`, JSON.stringify({ ref: digest, started: 0 }));
  const source = remote();
  await stream(source);
  expect(source.begun.at(-1)).toBe(0);
  expect(listing()).toEqual(whole);
  expect(await ingests()).toEqual([]);
});

it('leaves nothing of a blob that is wrong', async () => {
  const wrong = Buffer.from(blob);
  wrong.fill(0xff, 400_000, 400_100);
  await expect(stream(remote(wrong))).rejects.toMatchObject({ code: 'corrupt' });
  expect(await ingests()).toEqual([]);
  await stream(remote());
  expect(listing()).toEqual(whole);
});

it('takes what another pass has brought meanwhile', async () => {
  const [one, other] = [remote(), remote()];
  await Promise.all([
    stream(one),
    content.ingest({ digest, size: blob.length }, (from) => other.stream(signal, from), { signal }),
  ]);
  expect([...one.begun, ...other.begun]).toEqual([0]);
  expect(listing()).toEqual(whole);
});

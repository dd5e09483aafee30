import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { constants, gzipSync } from 'node:zlib';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type DiffId, digestOf } from '#src/common/digest.js';
import { FileBlob } from '#src/common/file-blob.js';
import { blockReader } from '#src/index/block-reader.js';
import { buildIndex } from '#src/index/build-index.js';
import { type ExpectedLayer, LayerIndex } from '#src/index/layer-index.js';
import { SpanCache } from '#src/index/span-cache.js';
import { SpanReader } from '#src/index/span-reader.js';
import {
  indexOf,
  listingOf,
  memorySource,
  piecesOf,
  temporaryFolder,
  treeOf,
} from './support/layers.js';
import { file, tarOf } from './support/tar-bytes.js';

const SPAN_SIZE = 64 << 10;

/** Text that compresses about as program files do, so that the data has many deflate blocks. */
function textOf(length: number): Buffer {
  const words = Array.from({ length: 2000 }, (_, i) =>
    createHash('md5')
      .update(`${i}`)
      .digest('base64')
      .slice(0, 3 + (i % 9)),
  );
  const random = randomBytes(length);
  let text = '';
  for (let i = 0; text.length < length; i += 2)
    text += `${words[random.readUInt16LE(i % (length - 2)) % words.length]} `;
  return Buffer.from(text.slice(0, length), 'latin1');
}

const tar = tarOf(
  file('text', textOf(900_000)),
  file('random', randomBytes(400_000)),
  file('zeros', Buffer.alloc(1_500_000)),
  file('more', textOf(700_000)),
);

function withExtras(plain: Buffer): Buffer {
  const whole = gzipSync(plain);
  const header = Buffer.from([0x1f, 0x8b, 8, 4 | 8 | 16 | 2, 0, 0, 0, 0, 0, 255]);
  const optional = Buffer.concat([
    Buffer.from([3, 0, 1, 2, 3]),
    Buffer.from('name\0comment\0'),
    Buffer.alloc(2),
  ]);
  const head = Buffer.concat([header, optional]);
  head.writeUInt16LE(crc16(head.subarray(0, -2)), head.length - 2);
  return Buffer.concat([head, whole.subarray(10)]);
}

/** The low half of the CRC-32, from the trailer that zlib writes. */
function crc16(bytes: Buffer): number {
  return gzipSync(bytes).readUInt16LE(gzipSync(bytes).length - 8);
}

function members(plain: Buffer, size: number): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < plain.length; at += size)
    parts.push(gzipSync(plain.subarray(at, at + size)));
  return Buffer.concat([...parts, gzipSync(Buffer.alloc(0))]);
}

const pipe = (command: string, args: string[]) =>
  execFileSync(command, args, { input: tar, maxBuffer: 64 << 20 });

/** As skopeo has a layer compressed, by the library that most tools written in Go use. */
function goGzip(): Buffer {
  const folder = temporaryFolder();
  const [from, to] = [join(folder, 'plain'), join(folder, 'gzip')];
  const blobs = 'blobs/sha256';
  mkdirSync(join(from, blobs), { recursive: true });
  const put = (content: Buffer | string, type: string) => {
    const bytes = Buffer.from(content);
    const digest = digestOf(bytes);
    writeFileSync(join(from, blobs, digest.slice('sha256:'.length)), bytes);
    return { mediaType: `application/vnd.oci.image.${type}`, digest, size: bytes.length };
  };
  const about = { architecture: 'amd64', os: 'linux' };
  const rootfs = { type: 'layers', diff_ids: [digestOf(tar)] };
  const config = put(JSON.stringify({ ...about, rootfs }), 'config.v1+json');
  const layers = [put(tar, 'layer.v1.tar')];
  const manifest = put(JSON.stringify({ schemaVersion: 2, config, layers }), 'manifest.v1+json');
  const index = JSON.stringify({ schemaVersion: 2, manifests: [manifest] });
  writeFileSync(join(from, 'index.json'), index);
  writeFileSync(join(from, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  execFileSync('skopeo', ['copy', '-q', '--dest-compress', `oci:${from}`, `oci:${to}`]);
  const made = readdirSync(join(to, blobs)).map((name) => readFileSync(join(to, blobs, name)));
  const layer = made.find((bytes) => bytes[0] === 0x1f && bytes[1] === 0x8b);
  if (layer === undefined) throw new Error('skopeo left the layer as it was');
  return layer;
}

/** Zeros in a single deflate block: fixed codes, one literal, then copies of 258 bytes from distance 1. */
function bomb(length: number): Buffer {
  const bits: number[] = [1, 1, 0, ...bitsOf(0x30, 8)];
  for (let i = 0; bits.length % 8 !== 0 || i === 0; i++)
    bits.push(...bitsOf(0xc5, 8), ...bitsOf(0, 5));
  const copies = Array.from({ length: 8 }, () => [...bitsOf(0xc5, 8), ...bitsOf(0, 5)]).flat();
  const body = Buffer.alloc(Math.ceil(length / (258 * 8)) * 13, packed(copies));
  return Buffer.concat([Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]), packed(bits), body]);
}

/** Huffman codes go into the stream from their highest bit on. */
function bitsOf(code: number, length: number): number[] {
  return Array.from({ length }, (_, i) => (code >> (length - 1 - i)) & 1);
}

function packed(bits: number[]): Buffer {
  const bytes = Buffer.alloc(Math.ceil(bits.length / 8));
  for (const [i, bit] of bits.entries()) bytes[i >> 3] = (bytes[i >> 3] ?? 0) | (bit << (i & 7));
  return bytes;
}

const blobs: [string, () => Buffer][] = [
  ['gzip -6', () => pipe('gzip', ['-6'])],
  ['gzip -1', () => pipe('gzip', ['-1'])],
  ['pigz with blocks of 128 KiB', () => pipe('pigz', ['-b', '128'])],
  ['pigz with independent blocks', () => pipe('pigz', ['-i', '-b', '128'])],
  ['libdeflate', () => pipe('libdeflate-gzip', ['-c'])],
  ['libdeflate at its best', () => pipe('libdeflate-gzip', ['-12', '-c'])],
  ['Go', () => goGzip()],
  ['zlib with fixed codes', () => gzipSync(tar, { strategy: constants.Z_FIXED })],
  ['stored blocks', () => gzipSync(tar, { level: 0 })],
  ['members larger than a span', () => members(tar, 300_000)],
  ['members smaller than a span', () => members(tar, 10_000)],
  ['every optional header field', () => withExtras(tar)],
  ['trailing zeros', () => Buffer.concat([gzipSync(tar), Buffer.alloc(5000)])],
  ['no compression', () => tar],
];

describe('spans', () => {
  test.each(blobs)('of %s give back any part of the tar', async (_, make) => {
    const blob = make();
    const index = indexOf(blob, { spanSize: SPAN_SIZE, pieceSize: 10_007 });
    expect(index.info).toMatchObject({
      blobDigest: digestOf(blob),
      diffId: digestOf(tar),
      tarSize: tar.length,
    });
    expect(index.info.spanCount).toBeGreaterThan(5);
    const { cache, reader, source } = await readerOf(index, blob);
    const order = Array.from({ length: index.info.spanCount }, (_, i) => i).toSorted(
      () => Math.random() - 0.5,
    );
    for (const number of order) {
      const { blobOffset, blobLength, tarLength } = index.span(number);
      const decoded = reader.decodedBytes;
      await reader.ensure(number, number, AbortSignal.timeout(10_000));
      expect(source.reads.at(-1)).toEqual([blobOffset, blobLength]);
      // Whatever is read of it, one span is decoded, and nothing before it.
      if (index.info.compression !== 'none') expect(reader.decodedBytes - decoded).toBe(tarLength);
    }
    expect(readAll(cache, tar.length).equals(tar)).toBe(true);
    expect(cache.presentBytes()).toBe(tar.length);
  });

  test('are at least as long as asked for, and follow one another', () => {
    const index = indexOf(gzipSync(tar), { spanSize: 256 << 10 });
    const bounds = [...index.spanBounds];
    expect(bounds[0]).toBe(0);
    expect(bounds.at(-1)).toBe(tar.length);
    for (let i = 1; i < bounds.length - 1; i++)
      expect((bounds[i] ?? 0) - (bounds[i - 1] ?? 0)).toBeGreaterThanOrEqual(256 << 10);
    for (const [number, start] of bounds.slice(0, -1).entries()) {
      expect(index.spanAt(start)).toBe(number);
      expect(index.spanAt((bounds[number + 1] ?? 0) - 1)).toBe(number);
    }
  });
});

describe('segments', () => {
  test('say where the bytes of a file are', () => {
    const index = indexOf(tarOf(file('a', 'hello'), file('b', 'x'.repeat(1000))));
    const ino = index.lookup(1, Buffer.from('b'))?.ino ?? 0;
    expect(index.segments(ino, 0, 10)).toEqual([{ kind: 'data', tarOffset: 1536, length: 10 }]);
    expect(index.segments(ino, 990, 100)).toEqual([{ kind: 'data', tarOffset: 2526, length: 10 }]);
    expect(index.segments(ino, 1000, 10)).toEqual([]);
    expect(index.segments(1, 0, 10)).toEqual([]);
  });
});

describe('buildIndex', () => {
  test('makes the same index in its worker', async () => {
    const blob = gzipSync(tar);
    const output = join(temporaryFolder(), 'index');
    const expected = {
      blobDigest: digestOf(blob),
      diffId: digestOf(tar) as DiffId,
      blobSize: blob.length,
    };
    const info = await buildIndex(piecesOf(blob, 12_345), {
      output,
      expected,
      spanSize: SPAN_SIZE,
    });
    using index = LayerIndex.open(output, expected);
    expect(index.info).toEqual(info);
    expect([...treeOf(index)]).toEqual([...treeOf(indexOf(blob, { spanSize: SPAN_SIZE }))]);
    expect(readdirSync(join(output, '..'))).toEqual(['index']);
  });

  test('makes one index after another in a thread, whatever came before, of files too', async () => {
    const folder = temporaryFolder();
    const layers = [
      gzipSync(tar),
      gzipSync(tarOf(file('small'))),
      tar,
      gzipSync(tar, { level: 1 }),
    ];
    const listings: string[][] = [];
    for (const [n, blob] of layers.entries()) {
      const [path, output] = [join(folder, `${n}.tar`), join(folder, `${n}.index`)];
      writeFileSync(path, blob);
      const source = await FileBlob.open(path);
      const arrived: number[] = [];
      const reader = blockReader(source, new AbortController().signal, (done) =>
        arrived.push(done),
      );
      const expected = { blobSize: blob.length, blobDigest: digestOf(blob) };
      const info = await buildIndex(reader ?? piecesOf(blob), { output, expected });
      await source.close();
      expect(arrived.at(-1)).toBe(blob.length);
      using index = LayerIndex.open(output, expected);
      const same = indexOf(blob);
      expect(info).toEqual(same.info);
      listings.push(listingOf(index));
      expect(listings.at(-1)).toEqual(listingOf(same));
      const cut = buildIndex(piecesOf(blob.subarray(0, 50)), { output: join(folder, 'cut') });
      await expect(cut).rejects.toMatchObject({ code: 'corrupt' });
    }
    expect(new Set(listings.map(String)).size).toBe(2);
  });

  const damaged = (blob: Buffer, at: number) => {
    const copy = Buffer.from(blob);
    copy[at] = (copy[at] ?? 0) ^ 0xff;
    return copy;
  };
  const gzipped = gzipSync(tar);
  const other = digestOf('other') as DiffId;
  test.each<[string, Buffer, ExpectedLayer, string, RegExp]>([
    [
      'cut gzip data',
      gzipped.subarray(0, 5000),
      {},
      'corrupt',
      /ends at byte 5000 in the middle of the gzip data/,
    ],
    [
      'gzip data cut in the trailer',
      gzipped.subarray(0, -3),
      {},
      'corrupt',
      /in the middle of the gzip data/,
    ],
    [
      'damaged gzip data',
      damaged(gzipped, 20_000),
      {},
      'corrupt',
      /Cannot inflate layer|Cannot read tar/,
    ],
    [
      'a wrong checksum',
      damaged(gzipped, gzipped.length - 6),
      {},
      'corrupt',
      /incorrect data check/,
    ],
    [
      'bytes after the gzip data',
      Buffer.concat([gzipped, Buffer.from('x')]),
      {},
      'corrupt',
      /follows the end of the gzip data/,
    ],
    [
      'a cut tar',
      gzipSync(tar.subarray(0, 10_000)),
      {},
      'corrupt',
      /Cannot read tar: it ends at byte 10000/,
    ],
    [
      'no tar at all',
      Buffer.from('hello world'.repeat(100)),
      {},
      'corrupt',
      /checksum does not match/,
    ],
    ['xz', Buffer.from('fd377a585a000000', 'hex'), {}, 'unsupported', /it is xz/],
    ['bzip2', Buffer.from('BZh91AY&SY'), {}, 'unsupported', /it is bzip2/],
    [
      'another digest',
      gzipped,
      { blobDigest: other },
      'corrupt',
      new RegExp(`its digest is sha256:.*, expected ${other}`),
    ],
    [
      'another diff id',
      gzipped,
      { diffId: other },
      'corrupt',
      new RegExp(`its diff id is sha256:.*, expected ${other}`),
    ],
    ['a longer blob', gzipped, { blobSize: 1000 }, 'corrupt', /expected 1000$/],
    [
      'a shorter blob',
      gzipped,
      { blobSize: 1 << 30 },
      'corrupt',
      new RegExp(`has ${gzipped.length} bytes, expected ${1 << 30}`),
    ],
  ])('refuses %s and leaves nothing', async (_, blob, expected, code, message) => {
    const folder = temporaryFolder();
    const work = buildIndex(piecesOf(blob), {
      output: join(folder, 'index'),
      expected,
    });
    await expect(work).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message) as string,
    });
    expect(readdirSync(folder)).toEqual([]);
  });

  test('refuses a bomb that can only be read as one span', () => {
    expect(() => indexOf(bomb(80 << 20))).toThrow(
      /can only be read together, expected at most 67108864/,
    );
  });

  test('passes on what the input throws', async () => {
    const folder = temporaryFolder();
    async function* failing() {
      yield* piecesOf(gzipped.subarray(0, 100_000));
      throw new Error('the line is dead');
    }
    await expect(buildIndex(failing(), { output: join(folder, 'index') })).rejects.toThrow(
      'the line is dead',
    );
    expect(readdirSync(folder)).toEqual([]);
  });

  test.each(['before it begins', 'while the input hangs'])('is cancelled %s', async (when) => {
    const folder = temporaryFolder();
    const controller = new AbortController();
    async function* hanging() {
      yield gzipped.subarray(0, 1000);
      setTimeout(() => controller.abort(), 20);
      await new Promise((resolve) => setTimeout(resolve, 60_000).unref());
    }
    if (when === 'before it begins') controller.abort();
    const work = buildIndex(hanging(), {
      output: join(folder, 'index'),
      signal: controller.signal,
    });
    await expect(work).rejects.toMatchObject({ code: 'cancelled' });
    expect(readdirSync(folder)).toEqual([]);
  });

  test('leaves an index that is there until the new one is whole', async () => {
    const folder = temporaryFolder();
    const output = join(folder, 'index');
    await buildIndex(piecesOf(gzipped), { output });
    await expect(buildIndex(piecesOf(gzipped.subarray(0, 99)), { output })).rejects.toThrow();
    expect(existsSync(output)).toBe(true);
    LayerIndex.open(output).close();
  });
});

describe('SpanReader', () => {
  const blob = gzipSync(tar);

  test('fetches neighbours in one read and nothing twice', async () => {
    const { reader, source, index } = await readerOf(indexOf(blob, { spanSize: SPAN_SIZE }), blob, {
      delay: 20,
    });
    const signal = AbortSignal.timeout(10_000);
    await Promise.all([
      reader.ensure(2, 5, signal),
      reader.ensure(3, 4, signal),
      reader.ensure(5, 6, signal),
    ]);
    const [first, last] = [index.span(2), index.span(5)];
    expect(source.reads).toEqual([
      [first.blobOffset, last.blobOffset + last.blobLength - first.blobOffset],
      [index.span(6).blobOffset, index.span(6).blobLength],
    ]);
    await reader.ensure(2, 6, signal);
    expect(source.reads).toHaveLength(2);
    expect(reader.fetchedBytes).toBe(source.reads.reduce((sum, [, length]) => sum + length, 0));
  });

  test('caches nothing that the index does not vouch for', async () => {
    const index = indexOf(blob, { spanSize: SPAN_SIZE });
    const { blobOffset, blobLength } = index.span(3);
    const { reader, cache } = await readerOf(
      index,
      damagedAt(blob, blobOffset + (blobLength >> 1)),
    );
    await expect(reader.ensure(3, 3, AbortSignal.timeout(10_000))).rejects.toMatchObject({
      code: 'corrupt',
      message: expect.stringContaining(
        `Cannot read span 3 of layer "${index.info.blobDigest}"`,
      ) as string,
    });
    expect(cache.has(3)).toBe(false);
    expect(cache.presentBytes()).toBe(0);
  });

  test('one who gives up does not stop the others', async () => {
    const { reader, cache } = await readerOf(indexOf(blob, { spanSize: SPAN_SIZE }), blob, {
      delay: 50,
    });
    const controller = new AbortController();
    const impatient = reader.ensure(1, 1, controller.signal);
    const patient = reader.ensure(1, 1, AbortSignal.timeout(10_000));
    controller.abort();
    await expect(impatient).rejects.toMatchObject({ code: 'cancelled' });
    await patient;
    expect(cache.has(1)).toBe(true);
  });

  test('stops the fetch when all gave up, and begins anew for the next', async () => {
    const { reader, source, cache } = await readerOf(indexOf(blob, { spanSize: SPAN_SIZE }), blob, {
      delay: 50,
    });
    const controller = new AbortController();
    const impatient = reader.ensure(1, 1, controller.signal);
    await new Promise((resolve) => setTimeout(resolve, 5));
    controller.abort();
    await expect(impatient).rejects.toMatchObject({ code: 'cancelled' });
    await reader.ensure(1, 1, AbortSignal.timeout(10_000));
    expect(source.reads).toHaveLength(2);
    expect(cache.has(1)).toBe(true);
  });

  test('opens its source at the first need, and again after a failure', async () => {
    const index = indexOf(blob, { spanSize: SPAN_SIZE });
    const cache = cacheOf(index);
    let opened = 0;
    const source = () =>
      opened++ === 0 ? Promise.reject(new Error('no route')) : Promise.resolve(memorySource(blob));
    const reader = new SpanReader({ index, cache, source });
    await expect(reader.ensure(0, 0, AbortSignal.timeout(10_000))).rejects.toThrow('no route');
    await reader.ensure(0, 0, AbortSignal.timeout(10_000));
    await reader.close();
    await expect(reader.ensure(0, 0, AbortSignal.timeout(10_000))).rejects.toMatchObject({
      code: 'cancelled',
    });
  });
});

function damagedAt(blob: Buffer, at: number): Buffer {
  const copy = Buffer.from(blob);
  copy[at] = (copy[at] ?? 0) ^ 0x55;
  return copy;
}

function cacheOf(index: LayerIndex): SpanCache {
  const cache = SpanCache.open(join(temporaryFolder(), 'cache'), index.spanBounds);
  onTestFinished(() => cache.close());
  return cache;
}

async function readerOf(index: LayerIndex, blob: Buffer, options: { delay?: number } = {}) {
  const cache = cacheOf(index);
  const source = memorySource(blob, options);
  const reader = new SpanReader({ index, cache, source });
  onTestFinished(() => reader.close());
  return Promise.resolve({ index, cache, reader, source });
}

function readAll(cache: SpanCache, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  expect(readSync(cache.fd, bytes, 0, length, 0)).toBe(length);
  return bytes;
}

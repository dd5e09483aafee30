import { randomBytes } from 'node:crypto';
import { deflateRawSync, gzipSync, inflateRawSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { WINDOW_SIZE } from '#src/ffi/zlib.js';
import { WindowPacker } from '#src/index/pack-window.js';
import { type Blocks, SPARSE_INPUT, WindowSieve } from '#src/index/sparse-window.js';
import { spanDecoder } from '#src/index/span-decoder.js';
import { indexOf } from './support/layers.js';
import { file, tarOf } from './support/tar-bytes.js';

/** Deflate blocks of `text` that copy from `window`. */
function blocksAfter(window: Buffer, text: Buffer): Buffer {
  return deflateRawSync(text, { dictionary: window, level: 9 });
}

/** A byte that no {@link randomWindow} has, nor anything that could be copied from one. */
const FOREIGN = 0xff;

function randomWindow(): Buffer {
  return Buffer.from(randomBytes(WINDOW_SIZE).map((byte) => byte & 0x7f));
}

describe('a window', () => {
  test('keeps the bytes that are copied, wherever they lie, and no others', () => {
    const window = randomWindow();
    const copied = [300, 511, 5000, 20_000, 32_000];
    // Without the byte between them, a copy could happen to go on into the next.
    const text = Buffer.concat(
      copied.flatMap((at) => [window.subarray(at, at + 100), Buffer.of(FOREIGN)]),
    );
    using sieve = new WindowSieve();
    const blocks = blocksAfter(window, text);
    const sparse = sieve.sparse(window, { input: blocks, bits: 0 });
    expect(sparse.length).toBe(WINDOW_SIZE - 300);
    for (const at of copied)
      expect(sparse.subarray(at - 300, at - 200)).toEqual(window.subarray(at, at + 100));
    expect(sparse.filter((byte) => byte !== 0).length).toBeLessThanOrEqual(100 * copied.length);
    expect(inflateRawSync(blocks, { dictionary: sparse })).toEqual(text);
  });

  test('begins with the first byte that is copied', () => {
    const window = randomWindow();
    using sieve = new WindowSieve();
    const blocks = blocksAfter(window, window.subarray(30_000, 30_200));
    expect(sieve.sparse(window, { input: blocks, bits: 0 }).length).toBe(WINDOW_SIZE - 30_000);
    const plain = blocksAfter(window, Buffer.alloc(50, FOREIGN));
    expect(sieve.sparse(window, { input: plain, bits: 0 }).length).toBe(0);
  });

  test('that is shorter than 32 KiB keeps its places', () => {
    const window = randomBytes(1000);
    using sieve = new WindowSieve();
    const blocks = blocksAfter(window, window.subarray(300, 500));
    expect(sieve.sparse(window, { input: blocks, bits: 0 }).subarray(0, 200)).toEqual(
      window.subarray(300, 500),
    );
  });

  test('stays as it is where the blocks do not tell', () => {
    const window = randomBytes(WINDOW_SIZE);
    using sieve = new WindowSieve();
    const blocks = blocksAfter(window, randomBytes(20_000));
    expect(sieve.sparse(window, { input: blocks.subarray(0, 10_000), bits: 0 })).toBe(window);
    // Stored blocks of nothing at all, as many as are looked at.
    const empty = Buffer.alloc(SPARSE_INPUT + 5, Buffer.of(0, 0, 0, 0xff, 0xff));
    expect(sieve.sparse(window, { input: empty, bits: 0 })).toBe(window);
  });
});

/** Words in no order: copies of all distances, and blocks that end within bytes. */
function prose(length: number): Buffer {
  const words = Array.from({ length: 3000 }, () => randomBytes(6).toString('hex').slice(0, 9));
  let text = '';
  while (text.length < length) text += `${words[Math.floor(Math.random() * words.length)]} `;
  return Buffer.from(text.slice(0, length));
}

test('the windows of a blob do not depend on the pieces that it comes in', () => {
  const blob = gzipSync(prose(3 << 20));
  const windowsIn = (piece: number): Buffer[] => {
    const windows: Buffer[] = [];
    using packer = new WindowPacker();
    const ignored = (): void => undefined;
    const listener = {
      output: ignored,
      checkpoint: ignored,
      split: ignored,
      window: (bytes: Buffer, blocks: Blocks) => void windows.push(packer.pack(bytes, blocks)),
      packedWindow: ignored,
    };
    const output = Buffer.alloc(64 << 10);
    const options = { spanSize: 128 << 10, checksums: true, nextOutput: () => output };
    const decoder = spanDecoder('gzip', listener, options);
    for (let at = 0; at < blob.length; at += piece) decoder.push(blob.subarray(at, at + piece));
    decoder.finish();
    decoder.close();
    return windows;
  };
  const whole = windowsIn(blob.length);
  expect(whole.length).toBeGreaterThan(10);
  for (const piece of [1, 777, 65_536]) expect(windowsIn(piece)).toEqual(whole);
});

test('an index has windows of which most is left out', () => {
  const blob = gzipSync(tarOf(file('prose', prose(8 << 20))));
  const index = indexOf(blob, { spanSize: 64 << 10 });
  const numbers = Array.from({ length: index.info.spanCount - 1 }, (_, at) => at + 1);
  const kept = numbers.map((span) => index.window(span)?.filter((byte) => byte !== 0).length ?? 0);
  expect(Math.max(...kept)).toBeLessThan(WINDOW_SIZE);
  expect(kept.reduce((sum, bytes) => sum + bytes, 0) / kept.length).toBeLessThan(WINDOW_SIZE * 0.8);
});

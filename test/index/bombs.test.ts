/** Layers that inflate to very much: who gives them up waits for nothing, and there is an end to them. */

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { buildIndex } from '#src/index/build-index.js';
import { type DecodedSpan, decodeSpans } from '#src/index/decode-spans.js';
import { checkInflated, mostInflated } from '#src/index/span-limits.js';
import { zstdBomb } from './support/bombs.js';
import { piecesOf, temporaryFolder } from './support/layers.js';

const GIB = 2 ** 30;

describe('a bomb that nobody wants any more', () => {
  const bomb = zstdBomb(32 * GIB);

  test.each([
    ['as a large layer', undefined],
    ['as a small one', bomb.length],
  ])(
    'is let go of while it inflates, %s',
    async (_, blobSize) => {
      const folder = temporaryFolder();
      const abort = new AbortController();
      const options = { output: join(folder, 'index'), signal: abort.signal };
      const expected = blobSize === undefined ? {} : { expected: { blobSize } };
      const building = buildIndex(piecesOf(bomb), { ...options, ...expected });
      setTimeout(() => abort.abort(), 1000);
      await expect(building).rejects.toMatchObject({ code: 'cancelled' });
      // Torn down, the thread would have taken ten seconds, and have kept its memory.
      expect(readdirSync(folder)).toEqual([]);
    },
    9000,
  );

  test('is let go of on the way to a span', async () => {
    const span = { number: 5, tarOffset: 0, tarLength: 10, blobOffset: 0, blobLength: 10, bits: 0 };
    const wanted = { ...span, skip: 32 * GIB, digest: Buffer.alloc(32) };
    let decoded = 0;
    const decoder = {
      fill: (output: Buffer) => Promise.resolve((decoded += output.length) && output.length),
      [Symbol.dispose]: () => undefined,
    };
    const checkWanted = (): void => {
      if (decoded > 3 << 20) throw new Error('nobody wants it');
    };
    const damaged = (): never => {
      throw new Error('not reached');
    };
    const spans: DecodedSpan[] = [];
    const decode = async (): Promise<void> => {
      for await (const one of decodeSpans([wanted], decoder, { damaged, checkWanted }))
        spans.push(one);
    };
    await expect(decode()).rejects.toThrow('nobody wants it');
    expect(spans).toEqual([]);
    expect(decoded).toBeLessThan(8 << 20);
  });
});

test('a blob may inflate to 64 GiB, or to all that deflate makes of as many bytes where that is more', () => {
  for (const [read, most] of [
    [1, 64 * GIB],
    [GIB / 32, 64 * GIB],
    [GIB, 1032 * GIB],
  ] as const) {
    expect(() => checkInflated(most, { read })).not.toThrow();
    expect(() => checkInflated(most + 1, { read })).toThrow(
      `its ${read} bytes inflate to more than ${most}, expected at most that`,
    );
  }
});

test('one that begins with zeros is taken for what it is as a whole', () => {
  const zeros = { read: 2 << 20, whole: GIB / 8 };
  expect(() => checkInflated(100 * GIB, zeros)).not.toThrow();
  expect(() => checkInflated(130 * GIB, zeros)).toThrow('its 134217728 bytes inflate to more than');
});

test('no gzip is too dense', () => {
  const dense = gzipSync(Buffer.alloc(32 << 20), { level: 9 });
  expect((32 << 20) / dense.length).toBeGreaterThan(1020);
  expect(Math.ceil((32 << 20) / dense.length)).toBeLessThanOrEqual(mostInflated(GIB) / GIB);
});

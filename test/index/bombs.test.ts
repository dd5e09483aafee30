/** Layers that inflate to very much: who gives them up waits for nothing, and there is an end to them. */

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { buildIndex } from '#src/index/build-index.js';
import { type DecodedSpan, decodeSpans } from '#src/index/decode-spans.js';
import { checkInflated } from '#src/index/span-limits.js';
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

test('a blob may inflate to 64 GiB, or to 200 times its size where that is more', () => {
  for (const [blob, most] of [
    [1, 64 * GIB],
    [GIB / 4, 64 * GIB],
    [GIB, 200 * GIB],
  ] as const) {
    expect(() => checkInflated(most, blob)).not.toThrow();
    expect(() => checkInflated(most + 1, blob)).toThrow(
      `the first ${blob} bytes of it inflate to more than ${most}, expected at most that`,
    );
  }
});

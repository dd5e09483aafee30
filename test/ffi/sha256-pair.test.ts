import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { sha256Pair } from '#src/ffi/sha256-pair.js';

const sha256 = (parts: readonly Uint8Array[]): string =>
  createHash('sha256').update(Buffer.concat(parts)).digest('hex');

it.skipIf(sha256Pair() === undefined)(
  'computes both digests, whatever the pieces and wherever the second one begins',
  () => {
    const pair = sha256Pair();
    pair?.begin();
    const piece = fc.record({
      bytes: fc.oneof(
        fc.uint8Array({ maxLength: 200 }),
        fc.integer({ min: 0, max: 9000 }).map((size) => new Uint8Array(size).fill(size)),
      ),
      ends: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
        let since: Uint8Array[] = [];
        for (const { bytes, ends } of pieces) {
          pair?.update(bytes);
          since.push(bytes);
          if (!ends) continue;
          expect(pair?.take(1).toString('hex')).toBe(sha256(since));
          since = [];
        }
        expect(pair?.take(1).toString('hex')).toBe(sha256(since));
        expect(pair?.take(0).toString('hex')).toBe(sha256(pieces.map(({ bytes }) => bytes)));
      }),
    );
  },
);

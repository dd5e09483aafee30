import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RangeSet } from '#src/common/range-set.js';

const LENGTH = 40;
const range = fc
  .tuple(fc.nat(LENGTH), fc.nat(LENGTH))
  .map(([a, b]) => ({ start: Math.min(a, b), end: Math.max(a, b) }));

test('is the set of the bytes that were added, in as few ranges as there can be', () => {
  fc.assert(
    fc.property(fc.array(range), range, (added, within) => {
      const set = new RangeSet();
      const bytes = new Set<number>();
      for (const one of added) {
        set.add(one);
        for (let byte = one.start; byte < one.end; byte += 1) bytes.add(byte);
      }
      expect(set.size).toBe(bytes.size);
      const listed = set.ranges.flatMap(({ start, end }) =>
        Array.from({ length: end - start }, (_, at) => start + at),
      );
      expect(listed).toEqual([...bytes].toSorted((a, b) => a - b));
      for (const [at, { start }] of set.ranges.entries())
        expect(start).toBeGreaterThan(set.ranges[at - 1]?.end ?? -1);
      const missing = new Set<number>();
      for (const { start, end } of set.missing(within))
        for (let byte = start; byte < end; byte += 1) missing.add(byte);
      for (let byte = within.start; byte < within.end; byte += 1)
        expect(missing.has(byte)).toBe(!bytes.has(byte));
      expect(set.has(within)).toBe(missing.size === 0);
    }),
  );
});

test('is empty again when it is cleared', () => {
  const set = new RangeSet();
  set.add({ start: 3, end: 9 });
  set.clear();
  expect(set.size).toBe(0);
  expect(set.missing({ start: 0, end: 4 })).toEqual([{ start: 0, end: 4 }]);
});

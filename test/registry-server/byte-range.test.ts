import { expect, test } from 'vitest';
import { selectRange } from '#src/registry-server/byte-range.js';

const whole = { kind: 'whole' };
const none = { kind: 'unsatisfiable' };
const part = (first: number, last: number) => ({ kind: 'part', first, last });

test.each([
  [undefined, 10, whole],
  ['bytes=0-0', 10, part(0, 0)],
  ['bytes=2-5', 10, part(2, 5)],
  ['bytes=2-', 10, part(2, 9)],
  ['bytes=-3', 10, part(7, 9)],
  ['bytes=-30', 10, part(0, 9)],
  ['bytes=9-100', 10, part(9, 9)],
  ['Bytes = 1 - 2', 10, part(1, 2)],
  ['bytes=10-', 10, none],
  ['bytes=10-12', 10, none],
  ['bytes=-0', 10, none],
  ['bytes=0-', 0, none],
  ['bytes=-1', 0, none],
  ['bytes=5-2', 10, whole],
  ['bytes=-', 10, whole],
  ['bytes=0-1,4-5', 10, whole],
  ['items=0-1', 10, whole],
  ['bytes=a-b', 10, whole],
])('selectRange(%s, %d)', (header, size, expected) => {
  expect(selectRange(header, size)).toEqual(expected);
});

import { expect, it } from 'vitest';
import { SpareBuffers } from '#src/common/spare-buffers.js';

const KIB = 1 << 10;

it('hands a buffer out again when it was given back, not before', () => {
  const buffers = new SpareBuffers(1 << 20);
  const first = buffers.take(300 * KIB);
  const second = buffers.take(300 * KIB);
  expect(second.buffer).not.toBe(first.buffer);
  buffers.giveBack(first);
  const third = buffers.take(310 * KIB);
  expect(third.buffer).toBe(first.buffer);
  expect(third.length).toBe(310 * KIB);
  expect(buffers.take(300 * KIB).buffer).not.toBe(first.buffer);
});

it('takes no smaller buffer than is asked for, and keeps no more than it may', () => {
  const buffers = new SpareBuffers(600 * KIB);
  const small = buffers.take(100 * KIB);
  const large = buffers.take(500 * KIB);
  buffers.giveBack(small);
  buffers.giveBack(large);
  expect(buffers.take(500 * KIB).buffer).not.toBe(large.buffer);
  expect(buffers.take(100 * KIB).buffer).toBe(small.buffer);
});

it('takes the smallest buffer that suffices, and lets small ones go', () => {
  const buffers = new SpareBuffers(4 << 20);
  const [large, medium, small] = [1000, 500, 10].map((size) => buffers.take(size * KIB));
  for (const buffer of [large, medium, small]) if (buffer !== undefined) buffers.giveBack(buffer);
  expect(buffers.take(300 * KIB).buffer).toBe(medium?.buffer);
  const [first, second] = [buffers.take(10 * KIB), buffers.take(10 * KIB)];
  expect([large?.buffer, small?.buffer, second.buffer]).not.toContain(first.buffer);
});

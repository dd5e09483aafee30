import { expect, it } from 'vitest';
import { LogLimiter } from '#src/fuse/log-limiter.js';

it('lets each line through once in ten seconds', () => {
  const limiter = new LogLimiter();
  expect(limiter.allows('a', 0)).toBe(true);
  expect(limiter.allows('a', 9_999)).toBe(false);
  expect(limiter.allows('b', 9_999)).toBe(true);
  expect(limiter.allows('a', 10_000)).toBe(true);
});

import { expect, it } from 'vitest';
import { RecentFailures } from '#src/fuse/recent-failures.js';

it('remembers spans for a second', () => {
  let now = 0;
  const failures = new RecentFailures(() => now);
  failures.add({ layer: 1, firstSpan: 2, lastSpan: 3 });
  expect(failures.includes({ layer: 1, firstSpan: 3, lastSpan: 9 })).toBe(true);
  expect(failures.includes({ layer: 1, firstSpan: 4, lastSpan: 9 })).toBe(false);
  expect(failures.includes({ layer: 2, firstSpan: 2, lastSpan: 2 })).toBe(false);
  now = 1000;
  expect(failures.includes({ layer: 1, firstSpan: 2, lastSpan: 2 })).toBe(false);
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseRfc3339 } from '#src/index/toc/rfc3339.js';

describe('parseRfc3339', () => {
  it.each([
    ['1970-01-01T00:00:00Z', 0, 0],
    ['2023-11-14T22:13:20.5Z', 1_700_000_000, 500_000_000],
    ['1960-01-02T03:04:05.000000001Z', -315_521_755, 1],
    ['2023-11-15T00:13:20+02:00', 1_700_000_000, 0],
    ['2023-11-14T20:13:20.1234567899-02:00', 1_700_000_000, 123_456_789],
    ['0001-01-01T00:00:00Z', -62_135_596_800, 0],
  ])('reads %s', (text, seconds, nanoseconds) => {
    expect(parseRfc3339(text)).toEqual({ seconds, nanoseconds });
  });

  it.each([
    '',
    '2023-11-14',
    '2023-11-14 22:13:20Z',
    '2023-13-14T22:13:20Z',
    '1700000000',
    'nonsense',
  ])('refuses %j', (text) => {
    expect(parseRfc3339(text)).toBeUndefined();
  });

  it('reads back what Date writes', () => {
    const date = fc.date({
      min: new Date('0001-01-01'),
      max: new Date('9999-12-31'),
      noInvalidDate: true,
    });
    fc.assert(
      fc.property(date, (time) => {
        const read = parseRfc3339(time.toISOString());
        const milliseconds = (read?.seconds ?? 0) * 1000 + (read?.nanoseconds ?? 0) / 1_000_000;
        expect(milliseconds).toBe(time.getTime());
      }),
    );
  });
});

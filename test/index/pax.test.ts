import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parsePaxId, parsePaxNumber, parsePaxRecords, parsePaxTime } from '#src/index/pax.js';
import { paxRecord } from './support/tar-bytes.js';

const byte = fc.integer({ min: 0, max: 255 }).map((c) => String.fromCharCode(c));
const key = fc.string({
  unit: fc
    .integer({ min: 33, max: 126 })
    .filter((c) => c !== 61)
    .map((c) => String.fromCharCode(c)),
  minLength: 1,
  maxLength: 40,
});

describe('parsePaxRecords', () => {
  test('gives back keys and values of any bytes', () => {
    const records = fc.dictionary(
      key.map((k) => `x${k}`),
      fc.string({ unit: byte, maxLength: 300 }),
    );
    fc.assert(
      fc.property(records, (values) => {
        const text = Object.entries(values)
          .map(([k, v]) => paxRecord(k, v))
          .join('');
        expect(parsePaxRecords(Buffer.from(text, 'latin1'))).toEqual(
          new Map(Object.entries(values)),
        );
      }),
    );
  });

  test('throws nothing but errors of its own on any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          parsePaxRecords(Buffer.from(bytes));
        } catch (error) {
          expect(error).toMatchObject({ code: 'corrupt' });
        }
      }),
    );
  });

  test('takes a length with a sign or zeros in front', () => {
    expect(parsePaxRecords(Buffer.from('+6 a=\n'))).toEqual(new Map([['a', '']]));
    const zeros = '0'.repeat(40);
    expect(parsePaxRecords(Buffer.from(`${zeros}48 a=bc\n`))).toEqual(new Map([['a', 'bc']]));
  });

  test('takes the last of records with the same key', () => {
    const text = paxRecord('path', 'a') + paxRecord('path', 'b');
    expect(parsePaxRecords(Buffer.from(text)).get('path')).toBe('b');
  });

  test.each([
    ['a length that is no number', 'x path=a\n'],
    ['a length beyond the end', '99 path=a\n'],
    ['a length that ends elsewhere', '8 path=a\n'],
    ['no blank', '9path=a\n'],
    ['no equals sign', '8 patha\n'],
    ['no key', '5 =a\n'],
    ['a name with a NUL', '10 path=\0\n\n'],
    ['a length of zero', '0 path=a\n'],
    ['a length below zero', '-9 path=a\n'],
    ['NULs behind the last one', '9 path=a\n\0'],
  ])('refuses %s', (_, text) => {
    expect(() => parsePaxRecords(Buffer.from(text, 'latin1'))).toThrow(/Cannot read PAX record/);
  });
});

test.each([
  ['0', 0, 0],
  ['1.5', 1, 500_000_000],
  ['1.', 1, 0],
  ['1.0000000019', 1, 1],
  ['-1', -1, 0],
  ['-1.5', -2, 500_000_000],
  ['-0.000000001', -1, 999_999_999],
  ['+5.25', 5, 250_000_000],
  ['9223372036854775807', 2 ** 63, 0],
])('parsePaxTime reads %s', (text, seconds, nanoseconds) => {
  expect(parsePaxTime(text)).toEqual({ seconds, nanoseconds });
});

test.each(['', '.5', '1e3', 'x', '1.5.6', '99999999999999999999', '9223372036854775808', '1.+5'])(
  'parsePaxTime refuses %j',
  (text) => {
    expect(parsePaxTime(text)).toBeUndefined();
  },
);

test('parsePaxNumber reads decimal numbers only', () => {
  expect(parsePaxNumber('12')).toBe(12);
  expect(parsePaxNumber('-12')).toBe(-12);
  expect(parsePaxNumber('0x12')).toBeUndefined();
  expect(parsePaxNumber('')).toBeUndefined();
});

test.each([
  ['5', 5],
  ['+5', 5],
  ['-1', 2 ** 32 - 1],
  ['4294967301', 5],
  ['9223372036854775807', 2 ** 32 - 1],
  ['-9223372036854775808', 0],
  ['9223372036854775808', undefined],
  ['5x', undefined],
])('parsePaxId gives the low 32 bits of %s', (text, id) => {
  expect(parsePaxId(text)).toBe(id);
});

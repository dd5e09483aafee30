import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseTarHeader, parseTarNumber, printable } from '#src/index/tar-header.js';
import { headerBytes } from './support/tar-bytes.js';

function base256(value: bigint, length: number): Buffer {
  const bits = BigInt(length * 8);
  const marked = BigInt.asUintN(Number(bits), value) | (1n << (bits - 1n));
  return Buffer.from(marked.toString(16).padStart(length * 2, '0'), 'hex');
}

describe('parseTarNumber', () => {
  test.each([
    ['0000644\0', 0o644],
    ['   644 \0', 0o644],
    ['644', 0o644],
    ['\0\0\0\0', 0],
    ['', 0],
    ['644\x00  ', 0o644],
    ['644\x00rest', 0o644],
    [' \x00 644 \x00 ', 0o644],
  ])('reads the octal field %j', (field, value) => {
    expect(parseTarNumber(Buffer.from(field, 'latin1'))).toBe(value);
  });

  test.each(['9', '12x', '-1', '1 2', '0x10', '1 \x00 2', '+1'])('refuses %j', (field) => {
    expect(parseTarNumber(Buffer.from(field, 'latin1'))).toBeUndefined();
  });

  test('reads any safe integer in base 256', () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), (value) => {
        expect(parseTarNumber(base256(BigInt(value), 12))).toBe(value);
      }),
    );
  });

  test('reads what a double cannot hold as the nearest that it can, up to 64 bits', () => {
    expect(parseTarNumber(base256(2n ** 63n - 1n, 12))).toBe(2 ** 63);
    expect(parseTarNumber(base256(-(2n ** 63n), 12))).toBe(-(2 ** 63));
    expect(parseTarNumber(base256(2n ** 63n, 12))).toBeUndefined();
    expect(parseTarNumber(base256(-(2n ** 63n) - 1n, 12))).toBeUndefined();
  });
});

describe('parseTarHeader', () => {
  test('reads every field of a ustar header, whatever its bytes', () => {
    const name = fc.string({
      unit: fc.integer({ min: 1, max: 255 }).map((c) => String.fromCharCode(c)),
      minLength: 1,
      maxLength: 99,
    });
    const id = fc.integer({ min: 0, max: 0o7777777 });
    const arbitrary = fc.record({
      path: name,
      linkPath: name,
      mode: fc.integer({ min: 0, max: 0o7777 }),
      uid: id,
      gid: id,
      size: fc.integer({ min: 0, max: 0o77777777777 }),
      mtime: fc.integer({ min: 0, max: 0o77777777777 }),
      major: id,
      minor: id,
    });
    fc.assert(
      fc.property(arbitrary, (piece) => {
        expect(parseTarHeader(headerBytes(piece))).toEqual({
          name: piece.path,
          linkName: piece.linkPath,
          mode: piece.mode,
          uid: piece.uid,
          gid: piece.gid,
          size: piece.size,
          mtime: piece.mtime,
          type: '0',
          devMajor: piece.major,
          devMinor: piece.minor,
        });
      }),
    );
  });

  test('is undefined for a block of zeros', () => {
    expect(parseTarHeader(Buffer.alloc(512))).toBeUndefined();
  });

  test('joins the prefix of ustar', () => {
    expect(parseTarHeader(headerBytes({ path: 'b', prefix: 'a' }))?.name).toBe('a/b');
  });

  test('has no prefix in GNU headers, whose field holds times', () => {
    expect(
      parseTarHeader(headerBytes({ path: 'b', magic: 'ustar  \0', prefix: '00001' }))?.name,
    ).toBe('b');
  });

  test('has the prefix that early Go wrote into GNU headers, where it is no time', () => {
    const nameOf = (prefix: string) =>
      parseTarHeader(headerBytes({ path: 'b', magic: 'ustar  \0', prefix }))?.name;
    expect(nameOf('early/go')).toBe('early/go/b');
    expect(nameOf('\xe9')).toBe('b');
  });

  test('takes no more than v7 has of what has another magic', () => {
    for (const magic of ['', 'ustar   ', 'ustarX00', 'USTAR\x0000']) {
      const header = headerBytes({ path: 'b', magic, prefix: 'a', major: 5 });
      expect(parseTarHeader(header)).toMatchObject({ name: 'b', devMajor: 0 });
    }
  });

  test('has the low 32 bits of owners and modes, however long they are', () => {
    const edit = (header: Buffer) => {
      base256(-1n, 8).copy(header, 100);
      base256(2n ** 60n + 5n, 8).copy(header, 108);
      base256(2n ** 32n, 8).copy(header, 116);
    };
    expect(parseTarHeader(headerBytes({ path: 'a', edit }))).toMatchObject({
      mode: 0xffffffff,
      uid: 5,
      gid: 0,
    });
  });

  test('refuses a checksum that is not octal', () => {
    const header = headerBytes({ path: 'a' });
    const sum = parseTarNumber(header.subarray(148, 156)) ?? 0;
    base256(BigInt(sum), 8).copy(header, 148);
    expect(() => parseTarHeader(header)).toThrow(/checksum does not match/);
  });

  test('takes the shorter prefix of star', () => {
    const edit = (header: Buffer) => {
      header.write('a', 345, 'latin1');
      header.write('12345', 345 + 131, 'latin1');
      header.write('tar\0', 508, 'latin1');
    };
    expect(parseTarHeader(headerBytes({ path: 'b', edit }))?.name).toBe('a/b');
  });

  test('refuses a header whose checksum is off', () => {
    const header = headerBytes({ path: 'a' });
    header[0] = 0x62;
    expect(() => parseTarHeader(header)).toThrow(/checksum does not match/);
  });

  test('names the field that is no number', () => {
    const edit = (header: Buffer) => void header.write('zzz', 124, 'latin1');
    expect(() => parseTarHeader(headerBytes({ path: 'a', edit }))).toThrow(/its size is "zzz/);
  });

  test('takes a checksum of signed bytes', () => {
    const header = headerBytes({ path: '\xff' });
    header.fill(0x20, 148, 156);
    const sum = header.reduce((total, byte) => total + (byte > 127 ? byte - 256 : byte), 0);
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
    expect(parseTarHeader(header)?.name).toBe('\xff');
  });
});

test('printable escapes what is not printable ASCII', () => {
  expect(printable('a\nb\xff')).toBe('a\\x0ab\\xff');
});

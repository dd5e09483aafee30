import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { digestOf } from '#src/common/digest.js';
import {
  parseZstdChunkedFooter,
  zstdChunkedDigest,
  zstdChunkedEnd,
  zstdChunkedPlace,
} from '#src/index/toc/zstd-chunked.js';

const NEW = 'io.github.containers.zstd-chunked.';
const OLD = 'io.containers.zstd-chunked.';

/** The footer in its skippable frame. */
function footerFrame(numbers: readonly number[], magic: string): Buffer {
  const body = Buffer.concat([
    ...numbers.map((number) => {
      const bytes = Buffer.alloc(8);
      bytes.writeBigUInt64LE(BigInt(number));
      return bytes;
    }),
    Buffer.from(magic, 'latin1'),
  ]);
  const header = Buffer.from('502a4d1800000000', 'hex');
  header.writeUInt32LE(body.length, 4);
  return Buffer.concat([header, body]);
}

describe('parseZstdChunkedFooter', () => {
  it.each([
    ['40 bytes, as stargz-snapshotter wrote it', [208, 20, 300, 1], 'GnUlInUx'],
    ['40 bytes', [208, 20, 300, 1], 'GNUlInUx'],
    ['64 bytes', [208, 20, 300, 1, 236, 5, 50], 'GNUlInUx'],
  ])('reads one of %s', (_, numbers, magic) => {
    const blob = Buffer.concat([Buffer.alloc(300), footerFrame(numbers, magic)]);
    for (const tail of [blob, blob.subarray(-68)]) {
      const place = parseZstdChunkedFooter(tail, blob.length);
      expect(place).toEqual({ offset: 208, length: 20, size: 300 });
      expect(place && zstdChunkedEnd(place)).toBe(200);
    }
  });

  it.each([
    ['a table outside the blob', [400, 20, 300, 1], 'it lies at bytes 400 to 420'],
    ['a table that is longer than the blob', [208, 2 ** 53, 300, 1], 'expected ones within'],
    ['a table before the first frame', [4, 20, 300, 1], 'it lies at bytes 4 to 24'],
    ['another type of table', [208, 20, 300, 2], 'its type is 2, expected 1'],
  ])('refuses %s', (_, numbers, message) => {
    const blob = Buffer.concat([Buffer.alloc(300), footerFrame(numbers, 'GNUlInUx')]);
    expect(() => parseZstdChunkedFooter(blob, blob.length)).toThrow(message);
  });

  it('finds none in any other bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (tail) => {
        expect(parseZstdChunkedFooter(Buffer.from(tail), tail.length)).toBeUndefined();
      }),
    );
  });
});

describe('zstdChunkedPlace', () => {
  it.each([NEW, OLD])('reads %smanifest-position', (prefix) => {
    const annotations = { [`${prefix}manifest-position`]: '208:20:300:1' };
    expect(zstdChunkedPlace(annotations, 300)).toEqual({ offset: 208, length: 20, size: 300 });
  });

  it.each([
    '',
    '1:2:3',
    '208:20:300:1:9',
    '-208:20:300:1',
    'a:b:c:d',
    '208:20:300:7',
    '290:20:300:1',
  ])('refuses %j', (value) => {
    const annotations = { [`${NEW}manifest-position`]: value };
    expect(() => zstdChunkedPlace(annotations, 300)).toThrow('Cannot read table of contents');
  });

  it('finds none where the manifest says nothing', () => {
    expect(zstdChunkedPlace({}, 300)).toBeUndefined();
  });
});

describe('zstdChunkedDigest', () => {
  it('is a sha256 digest or none', () => {
    const digest = digestOf('table');
    expect(zstdChunkedDigest({ [`${NEW}manifest-checksum`]: digest })).toBe(digest);
    expect(zstdChunkedDigest({ [`${OLD}manifest-checksum`]: digest })).toBe(digest);
    expect(zstdChunkedDigest({ [`${OLD}manifest-checksum`]: 'sha512:00' })).toBeUndefined();
    expect(zstdChunkedDigest({})).toBeUndefined();
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SiphonError } from '#src/common/errors.js';
import { digestOf } from '#src/common/digest.js';
import { parseJsonToc } from '#src/index/toc/json-toc.js';
import type { TocEntry } from '#src/index/toc/toc-model.js';

const digest = digestOf('chunk');
const raw = Buffer.from(digest.slice(7), 'hex');

function parse(...entries: unknown[]): TocEntry[] {
  return [...parseJsonToc(Buffer.from(JSON.stringify({ version: 1, entries })))];
}

describe('parseJsonToc', () => {
  it('reads entries of every type with their attributes', () => {
    const common = { mode: 0o4755, uid: 7, gid: 8, modtime: '2023-11-14T22:13:20.5Z' };
    const [reg, dir, symlink, link, char, block, fifo] = parse(
      { type: 'reg', name: 'f', ...common, xattrs: { 'user.ä': 'AP8Q' } },
      { type: 'dir', name: './d/' },
      { type: 'symlink', name: 's', linkName: 'ä' },
      { type: 'hardlink', name: 'h', linkName: 'f' },
      { type: 'char', name: 'c', devMajor: 1, devMinor: 3 },
      { type: 'block', name: 'b', devMajor: 8 },
      { type: 'fifo', name: 'p' },
    ).map(({ entry }) => entry);
    expect(reg).toEqual({
      type: 'file',
      path: 'f',
      mode: 0o4755,
      uid: 7,
      gid: 8,
      size: 0,
      mtimeSeconds: 1_700_000_000,
      mtimeNanoseconds: 500_000_000,
      linkPath: '',
      devMajor: 0,
      devMinor: 0,
      xattrs: [{ name: 'user.\xc3\xa4', value: '\0\xff\x10' }],
    });
    expect(dir).toMatchObject({ type: 'directory', path: './d/', mtimeSeconds: 0 });
    expect(symlink).toMatchObject({ type: 'symlink', linkPath: '\xc3\xa4' });
    expect(link).toMatchObject({ type: 'hardlink', linkPath: 'f' });
    expect(char).toMatchObject({ type: 'character', devMajor: 1, devMinor: 3 });
    expect(block).toMatchObject({ type: 'block', devMajor: 8, devMinor: 0 });
    expect(fifo).toMatchObject({ type: 'fifo' });
  });

  it('gathers the chunks of a file, the last of which need not say its size', () => {
    const [one] = parse(
      { type: 'reg', name: 'f', size: 25, offset: 100, chunkSize: 10, chunkDigest: digest },
      {
        type: 'chunk',
        name: 'f',
        offset: 150,
        chunkOffset: 10,
        chunkSize: 10,
        chunkDigest: digest,
      },
      {
        type: 'chunk',
        name: 'f',
        offset: 200,
        innerOffset: 5,
        chunkOffset: 20,
        chunkDigest: digest,
      },
    );
    expect(one?.chunks).toEqual([
      { blobOffset: 100, skip: 0, fileOffset: 0, size: 10, digest: raw },
      { blobOffset: 150, skip: 0, fileOffset: 10, size: 10, digest: raw },
      { blobOffset: 200, skip: 5, fileOffset: 20, size: 5, digest: raw },
    ]);
  });

  it("takes a file's digest for that of its only chunk", () => {
    const [one] = parse({ type: 'reg', name: 'f', size: 3, offset: 1, endOffset: 9, digest });
    expect(one?.chunks).toEqual([{ blobOffset: 1, skip: 0, fileOffset: 0, size: 3, digest: raw }]);
  });

  it('leaves chunks of zeros out', () => {
    const [one] = parse(
      { type: 'reg', name: 'f', size: 30, chunkSize: 10, chunkType: 'zeros' },
      { type: 'chunk', name: 'f', offset: 9, chunkOffset: 10, chunkSize: 10, chunkDigest: digest },
      { type: 'chunk', name: 'f', chunkOffset: 20, chunkSize: 10, chunkType: 'zeros' },
    );
    expect(one?.chunks).toEqual([
      { blobOffset: 9, skip: 0, fileOffset: 10, size: 10, digest: raw },
    ]);
  });

  it.each<[string, unknown[], string]>([
    ['a file without digests', [{ type: 'reg', name: 'f', size: 1 }], 'expected a sha256 digest'],
    [
      'several chunks with the digest of the whole only',
      [
        { type: 'reg', name: 'f', size: 2, chunkSize: 1, digest },
        { type: 'chunk', name: 'f', chunkOffset: 1, digest },
      ],
      'expected a sha256 digest',
    ],
    [
      'sha512',
      [{ type: 'reg', name: 'f', size: 1, digest: `sha512:${'0'.repeat(128)}` }],
      'expected a sha256 digest',
    ],
    ['a negative size', [{ type: 'reg', name: 'f', size: -1 }], '"size" is -1'],
    [
      'a fractional offset',
      [{ type: 'reg', name: 'f', size: 1, offset: 0.5, digest }],
      '"offset" is 0.5',
    ],
    ['a size beyond what numbers hold', [{ type: 'reg', name: 'f', size: 2 ** 60 }], '"size" is'],
    [
      'a chunk that is longer than its file',
      [{ type: 'reg', name: 'f', size: 1, chunkSize: 2, digest }],
      'do not meet at byte 0',
    ],
    [
      'a gap between chunks',
      [
        { type: 'reg', name: 'f', size: 4, chunkSize: 1, chunkDigest: digest },
        { type: 'chunk', name: 'f', chunkOffset: 2, chunkDigest: digest },
      ],
      'do not meet at byte 1',
    ],
    [
      'a file that ends too early',
      [{ type: 'reg', name: 'f', size: 4, chunkSize: 1, chunkDigest: digest }],
      'do not meet at byte 1',
    ],
    [
      "another file's chunk",
      [
        { type: 'reg', name: 'f', size: 4, chunkSize: 2, chunkDigest: digest },
        { type: 'chunk', name: 'g', chunkOffset: 2, chunkDigest: digest },
      ],
      'do not meet at byte 2',
    ],
    [
      'chunks without bytes, of which there could be any number',
      [
        { type: 'reg', name: 'f' },
        { type: 'chunk', name: 'f' },
        { type: 'chunk', name: 'f' },
      ],
      'do not meet at byte 0',
    ],
    ['a chunk without a file', [{ type: 'chunk', name: 'f' }], 'expected a kind of file'],
    ['a type of its own', [{ type: 'door', name: 'f' }], 'expected a kind of file'],
    [
      'a kind of chunk of its own',
      [{ type: 'reg', name: 'f', size: 1, chunkType: 'ones', digest }],
      'expected data or "zeros"',
    ],
    ['a name with a NUL', [{ type: 'dir', name: 'a\0b' }], 'expected text without NUL'],
    ['a name that is a number', [{ type: 'dir', name: 7 }], 'expected text'],
    [
      'a name that lost bytes',
      [{ type: 'dir', name: 'a\ufffd' }],
      'bytes were lost that are no UTF-8',
    ],
    [
      'a target that lost bytes',
      [{ type: 'symlink', name: 'a', linkName: '\ufffd' }],
      'bytes were lost',
    ],
    ['half a surrogate pair', [{ type: 'dir', name: '\ud800' }], 'bytes were lost'],
    ['a time that is none', [{ type: 'dir', name: 'a', modtime: 'noon' }], 'expected RFC 3339'],
    [
      'an owner that none can be',
      [{ type: 'dir', name: 'a', uid: 2 ** 32 }],
      'its uid is 4294967296',
    ],
    ['an entry that is no object', ['f'], 'expected an object'],
    ['an xattr that is no text', [{ type: 'dir', name: 'a', xattrs: { b: 1 } }], 'expected base64'],
  ])('refuses %s', (_, entries, message) => {
    expect(() => parse(...entries)).toThrow(message);
  });

  it.each([
    ['', 'expected an object'],
    ['null', 'expected an object'],
    ['[]', 'expected an object'],
    ['{"version":1,"entries":[]} x', 'it is no JSON'],
    ['{"version":1,"entries":[}', 'it is no JSON'],
    ['{"version":1,"entries":[{"type":"dir"},]}', 'it is no JSON'],
    ['{"version":1,"entries":[{"type":"dir"} {"type":"dir"}]}', 'it is no JSON'],
    ['{"version":1,"entries":[{"type":"dir}', 'it is no JSON'],
    ['{"version":1,"entries":[{"type":dir}]}', 'it is no JSON'],
    ['{"version":1,"entries":{}}', 'expected a list'],
    ['{"version":2,"entries":[]}', 'its version is 2, expected 1'],
    ['{"version":1}', 'expected a list'],
  ])('refuses %j', (json, message) => {
    expect(() => [...parseJsonToc(Buffer.from(json))]).toThrow(message);
  });

  it('refuses a name that is nested deeper than the stack', () => {
    const name = `${'['.repeat(200_000)}${']'.repeat(200_000)}`;
    const json = Buffer.from(`{"version":1,"entries":[{"type":"reg","name":${name}}]}`);
    expect(() => [...parseJsonToc(json)]).toThrow('"name" is a list, expected text');
  });

  it('can be ended between the chunks of a file', () => {
    const json = JSON.stringify({
      version: 1,
      entries: [
        { type: 'reg', name: 'f', size: 2, chunkSize: 1, chunkType: 'zeros' },
        { type: 'chunk' },
      ],
    });
    let left = 1;
    const checkWanted = (): void => {
      if (left-- === 0) throw new Error('nobody wants it');
    };
    expect(() => [...parseJsonToc(Buffer.from(json), checkWanted)]).toThrow('nobody wants it');
  });

  it('reads a table in any order and with any spaces', () => {
    const json =
      ' { "a" : [ "\\"]}" , {"b":[[]]} ] , "entries" : [ {"type":"dir","name":"x"} , {"type":"dir","name":"y\\"]"} ]\n,"version":1 }\n';
    const paths = [...parseJsonToc(Buffer.from(json))].map(({ entry }) => entry.path);
    expect(paths).toEqual(['x', 'y"]']);
  });

  it('reads entries as they are asked for, and none that is larger than any can be', () => {
    const entries = parseJsonToc(
      Buffer.from('{"version":1,"entries":[{"type":"dir","name":"a"},{"type":"no"}]}'),
    );
    expect(entries.next().value?.entry.path).toBe('a');
    expect(() => entries.next()).toThrow('expected a kind of file');
    const large = `{"version":1,"entries":[{"type":"dir","name":"${'a'.repeat(5 << 20)}"}]}`;
    expect(() => [...parseJsonToc(Buffer.from(large))]).toThrow('expected at most 4194304 bytes');
  });

  it('refuses JSON whose names are no UTF-8', () => {
    const json = Buffer.from('{"version":1,"entries":[{"type":"dir","name":"\xff"}]}', 'latin1');
    expect(() => [...parseJsonToc(json)]).toThrow('bytes were lost');
  });

  it('answers any JSON with entries or an error of its own, and covers files exactly', () => {
    const fields = fc.record(
      {
        type: fc.constantFrom('reg', 'chunk', 'dir', 'door'),
        name: fc.constantFrom('f', 'g', ''),
        size: fc.integer({ min: -2, max: 6 }),
        chunkSize: fc.integer({ min: 0, max: 4 }),
        chunkOffset: fc.integer({ min: 0, max: 6 }),
        chunkDigest: fc.constant(digest),
        chunkType: fc.constantFrom('', 'zeros'),
        offset: fc.integer({ min: 0, max: 9 }),
      },
      { requiredKeys: [] },
    );
    const value = fc.oneof(fc.array(fields, { maxLength: 5 }), fc.jsonValue());
    fc.assert(
      fc.property(value, (entries) => {
        for (const { entry, chunks } of parsedOrRefused(entries)) {
          let at = 0;
          for (const { fileOffset, size } of chunks) {
            expect(fileOffset).toBeGreaterThanOrEqual(at);
            expect(size).toBeGreaterThan(0);
            at = fileOffset + size;
          }
          expect(at).toBeLessThanOrEqual(entry.size);
        }
      }),
      { numRuns: 500 },
    );
  });
});

function parsedOrRefused(entries: unknown): TocEntry[] {
  try {
    return [...parseJsonToc(Buffer.from(JSON.stringify({ version: 1, entries })))];
  } catch (error) {
    expect(error).toBeInstanceOf(SiphonError);
    return [];
  }
}

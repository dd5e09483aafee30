import { execFileSync } from 'node:child_process';
import { closeSync, ftruncateSync, openSync, readFileSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { LayerIndex } from '#src/index/layer-index.js';
import { unpackBytes, unpackingMissing } from '../unpack/support/unpacked.js';
import { indexOf, temporaryFolder } from './support/layers.js';
import { type Piece, SPARSE_FORMATS, sparseFile } from './support/sparse-bytes.js';
import { dir, file, paxHeader, paxRecord, pieceBytes, tarOf } from './support/tar-bytes.js';

const END = Buffer.alloc(1024);
const skipUnpack = unpackingMissing() !== undefined;

/** The bytes of a file as its index finds them in the tar. */
function contentOf(index: LayerIndex, tar: Buffer, name: string): Buffer {
  const inode = index.lookup(1, Buffer.from(name));
  if (inode === undefined) throw new Error(`no ${name}`);
  return Buffer.concat(
    index
      .segments(inode.ino, 0, inode.size)
      .map((segment) =>
        segment.kind === 'hole'
          ? Buffer.alloc(segment.length)
          : tar.subarray(segment.tarOffset, segment.tarOffset + segment.length),
      ),
  );
}

const piece = fc.record({
  gap: fc.nat(3000),
  data: fc.uint8Array({ minLength: 1, maxLength: 700 }),
});
const layout = fc.record({ pieces: fc.array(piece, { maxLength: 60 }), tail: fc.nat(5000) });

describe.each(SPARSE_FORMATS)('a sparse file of format %s', (format) => {
  test('has its bytes where the map says', async () => {
    await fc.assert(
      fc.asyncProperty(layout, async ({ pieces, tail }) => {
        let end = 0;
        const stored: Piece[] = pieces.map(({ gap, data }) => {
          const offset = end + gap;
          end = offset + data.length;
          return { offset, data: Buffer.from(data) };
        });
        const size = end + tail;
        const whole = Buffer.alloc(size);
        for (const { offset, data } of stored) data.copy(whole, offset);
        const tar = Buffer.concat([
          sparseFile(format, { path: 's', size, pieces: stored }),
          tarOf(file('after', 'x')),
        ]);
        const index = indexOf(tar, { pieceSize: 1000 });
        expect(contentOf(index, tar, 's').equals(whole)).toBe(true);
        expect(contentOf(index, tar, 'after').toString()).toBe('x');
        index.close();
      }),
      { numRuns: 20 },
    );
  });

  test.skipIf(skipUnpack)('is unpacked with its holes: needs root', async () => {
    const size = 40_000_000;
    const pieces = [
      { offset: 0, data: Buffer.from('first') },
      { offset: 20_000_000, data: Buffer.alloc(70_000, 7) },
    ];
    const tar = Buffer.concat([sparseFile(format, { path: 's', size, pieces }), END]);
    const { target } = await unpackBytes(tar);
    const whole = Buffer.alloc(size);
    for (const { offset, data } of pieces) data.copy(whole, offset);
    expect(readFileSync(join(target, 's')).equals(whole)).toBe(true);
    expect(statSync(join(target, 's')).blocks * 512).toBeLessThan(size / 10);
  });
});

test('a file over 8 GiB that is nearly all hole', () => {
  const size = 9 * 2 ** 30;
  const pieces = [{ offset: size - 10, data: Buffer.from('the end') }];
  const index = indexOf(Buffer.concat([sparseFile('1.0', { path: 's', size, pieces }), END]));
  const { ino } = index.lookup(1, Buffer.from('s')) ?? { ino: 0 };
  expect(index.segments(ino, size - 12, 100)).toEqual([
    { kind: 'hole', length: 2 },
    { kind: 'data', tarOffset: expect.any(Number) as number, length: 7 },
    { kind: 'hole', length: 3 },
  ]);
});

test.each([
  ['gnu', []],
  ['posix', ['--sparse-version=0.0']],
  ['posix', ['--sparse-version=0.1']],
  ['posix', ['--sparse-version=1.0']],
])('GNU tar’s own: --format=%s %s', (format, more) => {
  const folder = temporaryFolder();
  const fd = openSync(join(folder, 'sparse'), 'w');
  for (let n = 0; n < 40; n++) writeSync(fd, `piece ${n}`, n * 100_000);
  ftruncateSync(fd, 5_000_000);
  closeSync(fd);
  const args = ['-C', folder, `--format=${format}`, ...more, '-Scf', '-', 'sparse'];
  const tar = execFileSync('tar', args, { maxBuffer: 1 << 26 });
  expect(tar.length).toBeLessThan(1_000_000);
  const found = contentOf(indexOf(tar), tar, 'sparse');
  expect(found.equals(readFileSync(join(folder, 'sparse')))).toBe(true);
});

describe('a map that lies is refused', () => {
  const records = (pax: Record<string, string>, content = 'abc') => [file('s', content, { pax })];
  const version1 = { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': '9' };
  test.each([
    ['pieces over the end', records({ 'GNU.sparse.map': '7,3', 'GNU.sparse.size': '9' })],
    ['pieces that overlap', records({ 'GNU.sparse.map': '0,2,1,1', 'GNU.sparse.size': '9' })],
    ['less than is stored', records({ 'GNU.sparse.map': '0,2', 'GNU.sparse.size': '9' })],
    ['more than is stored', records({ 'GNU.sparse.map': '0,4', 'GNU.sparse.size': '9' })],
    ['an offset alone', records({ 'GNU.sparse.map': '0,3,5', 'GNU.sparse.size': '9' })],
    ['words for numbers', records({ 'GNU.sparse.map': 'a,b', 'GNU.sparse.size': '9' })],
    ['a size below zero', records({ 'GNU.sparse.map': '0,3', 'GNU.sparse.size': '-9' })],
    ['a map without an end', records(version1, `1\n0\n${'1'.repeat(2000)}`)],
    ['a map longer than the file', records(version1, '3\n0\n1\n')],
    ['a count that nobody could store', records(version1, `${10 ** 15}\n${'0\n'.repeat(600_000)}`)],
    ['a folder with a map', [dir('s', { pax: { 'GNU.sparse.map': '0,3' } })]],
    [
      'no numbers in the old header',
      [file('s', '', { type: 'S', edit: (h) => h.write('x', 386) })],
    ],
  ])('%s', (_, pieces) => {
    expect(() => indexOf(tarOf(...pieces))).toThrow(/[sS]parse file.*"s"|"s".*sparse file/);
  });

  test('records out of turn', () => {
    const text = paxRecord('GNU.sparse.numbytes', '1') + paxRecord('GNU.sparse.offset', '1');
    const blob = Buffer.concat([
      pieceBytes({ path: 'x', type: 'x', content: text }),
      tarOf(file('s')),
    ]);
    expect(() => indexOf(blob)).toThrow(/expected a number for "GNU.sparse.offset"/);
  });

  test('a tar that ends in the map', () => {
    const blob = Buffer.concat([paxHeader(version1), pieceBytes(file('s', '1\n'))]);
    expect(() => indexOf(blob)).toThrow(/in the middle of the map of "s"/);
  });
});

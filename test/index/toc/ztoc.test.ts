import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { SiphonError } from '#src/common/errors.js';
import { type DiffId, digestOf } from '#src/common/digest.js';
import { LayerIndex } from '#src/index/layer-index.js';
import { readSociToc } from '#src/index/toc/soci-toc.js';
import { buildTocIndex } from '#src/index/toc/toc-index.js';
import { parseZtoc } from '#src/index/toc/ztoc.js';
import {
  device,
  dir,
  file,
  fileWithXattrs,
  hardlink,
  noise,
  opaque,
  symlink,
  tarOf,
  whiteout,
} from '../../support/images.js';
import { indexOf, memorySource, temporaryFolder, treeOf } from '../support/layers.js';
import { contentOf, contentsOf } from './support/contents.js';
import { type ZtocParts, plainZtocPartsOf, ztocBytes, ztocPartsOf } from './support/ztoc-bytes.js';

const never = new AbortController().signal;
const SPAN_SIZE = 64 << 10;
const last = noise(150_000, 'last').toString('latin1');

const tar = await tarOf([
  dir('./', { mode: 0o755 }),
  file('./big', Buffer.concat([noise(200_000), Buffer.alloc(300_000, 'text ')]), { mtime: 0.5 }),
  dir('d', { uid: 3_000_000, gid: 4 }),
  file(Buffer.from('d/\xff\xfe', 'latin1'), 'not UTF-8'),
  fileWithXattrs('d/small', 'small', { 'user.key': Buffer.from([0, 255, 16]) }),
  hardlink('d/again', 'd/small'),
  symlink('link', 'd/nowhere'),
  device('null', { major: 1, minor: 3 }),
  whiteout('d/gone'),
  opaque('over'),
  file('last', noise(150_000, 'last')),
]);
const blob = gzipSync(tar);

async function open(parts: ZtocParts, layer: Buffer = blob): Promise<LayerIndex> {
  const path = join(temporaryFolder(), 'index');
  const described = {
    blobDigest: digestOf(layer),
    blobSize: layer.length,
    diffId: digestOf(tar) as DiffId,
  };
  const toc = await readSociToc(ztocBytes(parts), memorySource(layer), never);
  await buildTocIndex({ path, toc, layer: described }).catch((error: unknown) => {
    expect(existsSync(path)).toBe(false);
    throw error;
  });
  const index = LayerIndex.open(path, described);
  onTestFinished(() => index.close());
  return index;
}

describe('a zTOC', () => {
  it.each([
    ['of the present form', false],
    ['of the first form', true],
  ])('%s gives the tree and the contents of its layer', async (_, old) => {
    const parts = ztocPartsOf(blob, SPAN_SIZE, old);
    expect(parts.digests.length).toBeGreaterThan(3);
    const index = await open(parts);
    const expected = indexOf(blob);
    expect(treeOf(index)).toEqual(treeOf(expected));
    expect(await contentsOf(index, memorySource(blob))).toEqual(
      await contentsOf(expected, memorySource(blob)),
    );
    expect(index.info).toMatchObject({
      format: 'soci',
      formatReason: 'SOCI: a zTOC of the layer is published for the image',
      compression: 'gzip',
      digestOf: 'blob',
      spanCount: parts.digests.length,
    });
  });

  it('of an uncompressed layer does so too', async () => {
    const index = await open(plainZtocPartsOf(tar, 100_000), tar);
    expect(treeOf(index)).toEqual(treeOf(indexOf(tar)));
    expect((await contentsOf(index, memorySource(tar)))['last']).toBe(last);
    expect(index.info).toMatchObject({ compression: 'none', format: 'soci' });
  });

  it('lets one span be read without the others', async () => {
    const index = await open(ztocPartsOf(blob, SPAN_SIZE));
    const source = memorySource(blob);
    const ino = index.lookup(1, Buffer.from('link'))?.ino ?? 0;
    expect(await contentOf(index, source, ino)).toEqual(Buffer.alloc(0));
    const small = index.lookup(index.lookup(1, Buffer.from('d'))?.ino ?? 0, Buffer.from('small'));
    expect((await contentOf(index, source, small?.ino ?? 0)).toString()).toBe('small');
    expect(source.reads).toHaveLength(1);
    expect(source.reads[0]?.[1]).toBeLessThan(blob.length / 2);
  });

  it('takes only xattrs out of the PAX records', async () => {
    const index = await open(ztocPartsOf(blob, SPAN_SIZE));
    const names = [...treeOf(index).values()].flatMap(({ xattrs = {} }) => Object.keys(xattrs));
    expect(new Set(names)).toEqual(
      new Set(['user.key', 'trusted.overlay.opaque', 'trusted.overlay.origin']),
    );
  });

  it('takes PAX records of any length for what they are, and bare names for xattrs', async () => {
    const parts = ztocPartsOf(blob, SPAN_SIZE);
    const records: [string, string][] = [
      ['comment', 'x'.repeat(100_000)],
      [`VENDOR.${'k'.repeat(300)}`, 'long'],
      ['SCHILY.xattr.user.prefixed', 'by its key'],
      ['user.bare', 'by its name'],
    ];
    const files = parts.files.map((one) =>
      one.entry.path === './big' ? { ...one, records } : one,
    );
    const index = await open({ ...parts, files });
    expect(treeOf(index).get('big')?.xattrs).toEqual({
      'user.bare': 'by its name',
      'user.prefixed': 'by its key',
    });
  });

  it('that ends with a checkpoint at the end of the tar loses nothing', async () => {
    const parts = ztocPartsOf(blob, SPAN_SIZE);
    const end = Buffer.from(parts.checkpoints.subarray(-(17 + 32768)));
    end.writeBigInt64LE(BigInt(blob.length - 8), 0);
    end.writeBigInt64LE(BigInt(parts.tarSize), 8);
    end[16] = 0;
    const checkpoints = Buffer.concat([parts.checkpoints, end]);
    checkpoints.writeInt32LE(checkpoints.readInt32LE(0) + 1, 0);
    // The digest of the last span is of its bytes up to the end of the blob all the same.
    const index = await open({ ...parts, checkpoints });
    expect((await contentsOf(index, memorySource(blob)))['last']).toBe(last);
  });
});

describe('a zTOC that lies', () => {
  type Change = (parts: ZtocParts) => Partial<ZtocParts>;
  const file0: (change: object) => Change =
    (change) =>
    ({ files: [head, big, ...rest] }) => {
      if (head === undefined || big === undefined) throw new Error('no files');
      return { files: [head, { ...big, ...change }, ...rest] };
    };
  const cut =
    (length: number): Change =>
    ({ checkpoints }) => ({
      checkpoints: checkpoints.subarray(0, length),
    });
  const at =
    (offset: number, value: bigint): Change =>
    ({ checkpoints }) => {
      const changed = Buffer.from(checkpoints);
      changed.writeBigInt64LE(value, offset);
      return { checkpoints: changed };
    };

  it.each<[string, Change, string]>([
    ['the size of the blob', () => ({ blobSize: 7 }), 'it describes a blob of 7 bytes'],
    ['its version', () => ({ version: '2.0' }), 'its version is "2.0", expected 0.9 or 1'],
    ['its compression', () => ({ algorithm: 3 }), 'its compression is 3, expected gzip or none'],
    ['the kind of a file', file0({ type: 'door' }), 'is of no kind of file'],
    ['a time', file0({ modTime: 'noon' }), 'the time of "./big" is none'],
    ['where a file is', file0({ dataOffset: 1e9 }), 'the content of "./big" lies outside the tar'],
    ['where a file is, before the tar', file0({ dataOffset: -1 }), 'lies outside the tar'],
    [
      'where the pieces of a file are',
      file0({ records: [['GNU.sparse.map', '0,1']] }),
      '"./big" is sparse',
    ],
    ['the digests of spans', () => ({ digests: [] }), 'it has 0 span digests'],
    [
      'the kind of a digest',
      ({ digests }) => ({ digests: digests.map(() => 'sha512:0') }),
      'expected sha256',
    ],
    [
      'the number of checkpoints',
      cut(12 + 17 + 32768),
      'its checkpoints have 32797 bytes, expected',
    ],
    ['checkpoints', cut(3), 'its checkpoints have 3 bytes'],
    ['a place in the blob', at(12, -1n), 'a checkpoint lies at -1'],
    ['a place behind the blob', at(12 + 17 + 32768, 10n ** 12n), 'the blob_length of span'],
    ['the order of checkpoints', at(12 + 8, 1000n), 'does not begin at byte 0'],
    [
      'the size of a file',
      ({ files }) => ({
        files: files.map((one) => ({ ...one, entry: { ...one.entry, size: -1 } })),
      }),
      'is -1',
    ],
    ['an uncompressed tar', () => ({ algorithm: 2 }), 'for an uncompressed tar'],
  ])('about %s is refused', async (_, change, message) => {
    const parts = ztocPartsOf(blob, SPAN_SIZE);
    await expect(open({ ...parts, ...change(parts) })).rejects.toThrow(message);
  });

  it('about the bytes of a span never shows a wrong byte', async () => {
    const parts = ztocPartsOf(blob, SPAN_SIZE);
    const digests = parts.digests.map(() => digestOf('other'));
    const index = await open({ ...parts, digests });
    const reading = contentsOf(index, memorySource(blob));
    await expect(reading).rejects.toThrow('the bytes from memory are not those of the index');
  });

  it('of the first form is refused for a gzip header with options', async () => {
    const named = Buffer.concat([blob.subarray(0, 10), Buffer.from('name\0'), blob.subarray(10)]);
    named[3] = 8;
    const parts = { ...ztocPartsOf(blob, SPAN_SIZE, true), blobSize: named.length };
    await expect(open(parts, named)).rejects.toThrow('the gzip header has options');
  });

  it('is read in bounded time, or refused, whatever bytes it has', () => {
    const bytes = ztocBytes(ztocPartsOf(blob, 4 << 20));
    const change = fc.tuple(fc.nat(bytes.length - 1), fc.nat(255));
    // The tables stand before the windows of checkpoints or behind them.
    const near = fc.tuple(fc.integer({ min: 0, max: 400 }), fc.nat(255));
    const far = fc.tuple(
      fc.integer({ min: bytes.length - 3000, max: bytes.length - 1 }),
      fc.nat(255),
    );
    const changes = fc.array(fc.oneof(change, near, far), { maxLength: 4 });
    fc.assert(
      fc.property(changes, fc.nat(bytes.length), (changed, length) => {
        const hostile = Buffer.from(bytes);
        for (const [offset, value] of changed) hostile[offset] = value;
        for (const candidate of [hostile, bytes.subarray(0, length)]) {
          try {
            for (const { entry } of parseZtoc(candidate).entries) {
              expect(entry.size).toBeGreaterThanOrEqual(0);
            }
          } catch (error) {
            expect(error).toBeInstanceOf(SiphonError);
          }
        }
      }),
      { numRuns: 300 },
    );
  });
});

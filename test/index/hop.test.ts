import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Sqlite } from '#src/common/sqlite.js';
import { digestOf } from '#src/common/digest.js';
import { errorCode } from '#src/common/errors.js';
import { compareIndexes } from '#src/index/compare-indexes.js';
import { HopBuilder } from '#src/index/hop/hop-builder.js';
import { hopIndex } from '#src/index/hop/hop-index.js';
import { IndexBuilder } from '#src/index/index-builder.js';
import { LayerIndex } from '#src/index/layer-index.js';
import { TREE_CASES } from '../support/tree-cases.js';
import { memorySource, temporaryFolder, treeOf } from './support/layers.js';
import { type TarPiece, dir, file, hardlink, symlink, tarOf } from './support/tar-bytes.js';

const signal = new AbortController().signal;
const SPAN_SIZE = 64 << 10;
const MIB = 1 << 20;

/** Builds the index in one pass; returns the code of the error where there is one. */
function pass(blob: Buffer, path: string): string | undefined {
  const builder = new IndexBuilder({ path, spanSize: SPAN_SIZE });
  try {
    builder.push(blob);
    builder.finish();
    return undefined;
  } catch (error) {
    builder.abort();
    return errorCode(error);
  }
}

/** The same by hopping, with as few bytes at a time as `window`. */
function hop(blob: Buffer, path: string, window: number): string | undefined {
  const job = { path, blobDigest: digestOf(blob), blobSize: blob.length, spanSize: SPAN_SIZE };
  const builder = new HopBuilder(job);
  try {
    while (builder.next < blob.length)
      builder.push(blob.subarray(builder.next, builder.next + window));
    builder.finish();
    return undefined;
  } catch (error) {
    builder.abort();
    return errorCode(error);
  }
}

function expectSame(blob: Buffer, window = 1024): void {
  const folder = temporaryFolder();
  const [whole, hopped] = [join(folder, 'whole'), join(folder, 'hopped')];
  const code = pass(blob, whole);
  expect(hop(blob, hopped, window)).toBe(code);
  if (code !== undefined) {
    expect(readdirSync(folder)).toEqual([]);
    return;
  }
  compareIndexes(hopped, whole);
  using a = LayerIndex.open(hopped, { blobDigest: digestOf(blob) });
  using b = LayerIndex.open(whole);
  expect(treeOf(a)).toEqual(treeOf(b));
  expect(a.spanBounds).toEqual(b.spanBounds);
}

describe('hopping gives the tree and the spans that a pass gives', () => {
  const layers = TREE_CASES.flatMap(({ name, layers: tars }) =>
    tars.map((tar, n) => [`${name} (${n})`, tar] as const),
  );
  test.each(layers)('%s', (_, tar) => expectSame(tar));

  test('of any tar, with windows of any size', () => {
    const name = fc.constantFrom('a', 'b', 'a/b', 'a/c', 'd/e/f', '.wh.a', 'a/.wh..wh..opq');
    const piece: fc.Arbitrary<TarPiece> = fc.oneof(
      fc
        .tuple(name, fc.integer({ min: 0, max: 5000 }))
        .map(([n, size]) => file(n, 'x'.repeat(size))),
      name.map((n) => dir(n)),
      fc.tuple(name, name).map(([n, to]) => symlink(n, to)),
      fc.tuple(name, name).map(([n, to]) => hardlink(n, to)),
      name.map((n) => file(n, 'pax', { pax: { 'SCHILY.xattr.user.x': 'y'.repeat(700) } })),
    );
    fc.assert(
      fc.property(
        fc.array(piece, { maxLength: 12 }),
        fc.integer({ min: 8, max: 9000 }),
        (all, window) => expectSame(tarOf(...all), window),
      ),
      { numRuns: 60 },
    );
  });

  test('of tars that are cut anywhere', () => {
    const whole = tarOf(file('a', 'x'.repeat(3000), { pax: { mtime: '1.5' } }), file('b', 'y'));
    for (let at = 8; at < whole.length; at += 500) expectSame(whole.subarray(0, at), 512);
  });
});

describe('what is read for it', () => {
  const big = Buffer.alloc(8 * MIB, 'big');
  const tar = tarOf(...Array.from({ length: 6 }, (_, n) => file(`f${n}`, big)), dir('end'));

  async function hopped(blob: Buffer) {
    const source = memorySource(blob);
    const output = join(temporaryFolder(), 'index');
    const info = await hopIndex(source, { output, blobDigest: digestOf(blob), signal });
    return {
      info,
      output,
      read: source.reads.reduce((sum, [, length]) => sum + length, 0),
      source,
    };
  }

  test('of large files, a small window each', async () => {
    const { info, read, source } = await hopped(tar);
    expect(info).toMatchObject({ entryCount: 7, digestOf: 'none', tarSize: tar.length });
    expect(source.reads.length).toBeLessThanOrEqual(8);
    expect(read).toBeLessThan(tar.length / 50);
  });

  test('of many small files, all but every byte once, in few and large reads', async () => {
    const small = tarOf(...Array.from({ length: 8000 }, (_, n) => file(`s${n}`, 'x'.repeat(700))));
    const { info, read, source } = await hopped(small);
    expect(info.entryCount).toBe(8000);
    expect(read).toBeGreaterThan(small.length * 0.99);
    expect(read).toBeLessThanOrEqual(small.length);
    expect(source.reads.length).toBeLessThan(4 + small.length / MIB + 2);
  });

  test('of one that is compressed, the start', async () => {
    const gzip = Buffer.concat([Buffer.from([0x1f, 0x8b, 8]), big]);
    await expect(hopped(gzip)).rejects.toMatchObject({ code: 'unsupported' });
  });

  test('nothing is left of one that fails or is given up', async () => {
    const folder = temporaryFolder();
    const output = join(folder, 'index');
    const name = { output, blobDigest: digestOf(tar) };
    const failing = { ...memorySource(tar), read: () => Promise.reject(new Error('gone')) };
    await expect(hopIndex(failing, { ...name, signal })).rejects.toThrow('gone');
    const ended = AbortSignal.abort();
    await expect(hopIndex(memorySource(tar), { ...name, signal: ended })).rejects.toMatchObject({
      code: 'cancelled',
    });
    expect(readdirSync(folder)).toEqual([]);
  });
});

test('an index of a compressed layer must have digests', () => {
  const path = join(temporaryFolder(), 'index');
  expect(hop(tarOf(file('a', 'x')), path, 1024)).toBeUndefined();
  const database = new Sqlite(path);
  onTestFinished(() => void database.close());
  database.exec("UPDATE layer SET compression = 'gzip'");
  expect(() => LayerIndex.open(path)).toThrow('have no digests');
});

import fc from 'fast-check';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { compareIndexes } from '#src/index/compare-indexes.js';
import { IndexBuilder } from '#src/index/index-builder.js';
import { temporaryFolder } from './support/layers.js';
import { type TarPiece, dir, file, hardlink, symlink, tarOf } from './support/tar-bytes.js';

/** Few names, so that entries meet. */
const folder = fc
  .array(fc.constantFrom('d', 'e'), { minLength: 1, maxLength: 3 })
  .map((names) => names.join('/'));
const path = fc
  .tuple(folder, fc.constantFrom('a', 'b', 'a-long-name-of-a-file', '\xff'))
  .map((names) => names.join('/'));
const more = fc.record({
  mode: fc.constantFrom(0o644, 0o2755),
  gid: fc.nat({ max: 3 }),
  mtime: fc.nat({ max: 2 ** 33 - 1 }),
  pax: fc.constantFrom<Record<string, string>>(
    {},
    { 'SCHILY.xattr.user.b': '1', 'SCHILY.xattr.user.a': '' },
  ),
});
const target = fc.constantFrom('d/a', '../b', 'x'.repeat(4095));
const piece: fc.Arbitrary<TarPiece> = fc.oneof(
  { weight: 9, arbitrary: fc.tuple(folder, more).map(([at, what]) => dir(at, what)) },
  { weight: 9, arbitrary: fc.tuple(path, more).map(([at, what]) => file(at, 'content', what)) },
  { weight: 3, arbitrary: fc.tuple(path, target).map(([at, to]) => symlink(at, to)) },
  { weight: 2, arbitrary: path.map((at) => file(at.replace(/[^/]*$/, '.wh.$&'))) },
  { weight: 2, arbitrary: folder.map((at) => file(`${at}/.wh..wh..opq`)) },
  // These are mostly wrong at their place.
  fc.tuple(path, path).map(([at, to]) => hardlink(at, to)),
  folder.map((at) => file(at)),
);

/** The index whose tree takes `treeMemory` bytes before it goes to a file, or what is wrong with the tar. */
function built(tar: Buffer, treeMemory: number | undefined): { path: string; error?: unknown } {
  const index = join(temporaryFolder(), 'index');
  const builder = new IndexBuilder({ path: index, treeMemory });
  try {
    builder.push(tar);
    builder.finish();
    return { path: index };
  } catch (error) {
    builder.abort();
    return { path: index, error };
  }
}

test('a tree is the same in memory, in a file, and where it goes from the one to the other', () => {
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), fc.nat({ max: 8000 }), (pieces, memory) => {
      const tar = tarOf(...pieces);
      const [inMemory, ...others] = [undefined, 0, memory].map((limit) => built(tar, limit));
      for (const other of others) {
        expect(other.error).toEqual(inMemory?.error);
        if (inMemory?.error === undefined) compareIndexes(other.path, inMemory?.path ?? '');
      }
    }),
    { numRuns: 60 },
  );
});

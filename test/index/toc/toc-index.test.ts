import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { SiphonError } from '#src/common/errors.js';
import { type DiffId, digestOf } from '#src/common/digest.js';
import { LayerIndex } from '#src/index/layer-index.js';
import { findToc } from '#src/index/toc/find-toc.js';
import type { PackedToc } from '#src/index/toc/packed-toc.js';
import { buildTocIndex } from '#src/index/toc/toc-index.js';
import {
  type TarEntry,
  device,
  dir,
  fifo,
  file,
  fileWithXattrs,
  hardlink,
  noise,
  opaque,
  symlink,
  tarOf,
  whiteout,
} from '../../support/images.js';
import {
  type TreeEntry,
  indexOf,
  memorySource,
  temporaryFolder,
  treeOf,
} from '../support/layers.js';
import { contentOf, contentsOf } from './support/contents.js';
import { type Stargz, type TocFields, stargzOf } from './support/stargz-bytes.js';

const never = new AbortController().signal;
const annotation = 'containerd.io/snapshot/stargz/toc.digest';

const everything: TarEntry[] = [
  dir('./', { mode: 0o750, uid: 3, gid: 4 }),
  file('./big', noise(300_000), { mode: 0o4755 }),
  dir('d/', { mtime: 1_600_000_000.25 }),
  file('d/empty'),
  fileWithXattrs('d/ä', 'small', { 'user.key': 'value' }),
  hardlink('d/again', 'd/ä'),
  symlink('link', 'd/nowhere'),
  device('null', { major: 1, minor: 3 }),
  device('disk', { major: 8, minor: 0, type: 'block-device' }),
  fifo('pipe', { uid: 1_000_000 }),
  file('implied/deep/file', 'x'),
  whiteout('d/gone'),
  opaque('over'),
  file('d/empty', 'no more'),
];

async function open(toc: PackedToc, blob: Buffer): Promise<LayerIndex> {
  const path = join(temporaryFolder(), 'index');
  const layer = {
    blobDigest: digestOf(blob),
    blobSize: blob.length,
    diffId: digestOf('') as DiffId,
  };
  await buildTocIndex({ path, toc, layer }).catch((error: unknown) => {
    expect(existsSync(path)).toBe(false);
    expect(existsSync(`${path}.staging`)).toBe(false);
    throw error;
  });
  const index = LayerIndex.open(path, layer);
  onTestFinished(() => index.close());
  return index;
}

async function indexed({ blob, digest }: Stargz): Promise<LayerIndex> {
  const toc = await findToc(
    { source: memorySource(blob), annotations: { [annotation]: digest } },
    never,
  );
  if (toc === undefined) throw new Error('no table of contents found');
  return open(toc, blob);
}

/** The tree without inode numbers, which depend on what else was in the tar. */
function plainTree(index: LayerIndex): Record<string, TreeEntry> {
  const entries = [...treeOf(index)].map(([path, entry]) => [path, { ...entry, ino: 0 }] as const);
  return Object.fromEntries(entries);
}

describe('an eStargz layer', () => {
  it.each([
    ['one chunk a file', {}],
    ['several chunks a file', { chunkSize: 70_000 }],
    ['files that share a member', { together: ['d/ä', 'implied/deep/file', 'd/empty'] }],
  ])('with %s has the tree and the contents of its tar', async (_, options) => {
    const layer = await stargzOf(everything, options);
    const index = await indexed(layer);
    const plain = gzipSync(layer.tar);
    const expected = indexOf(plain);
    expect(plainTree(index)).toEqual(plainTree(expected));
    expect(await contentsOf(index, memorySource(layer.blob))).toEqual(
      await contentsOf(expected, memorySource(plain)),
    );
    expect(index.info).toMatchObject({
      format: 'estargz',
      formatReason: 'eStargz footer; the manifest names the digest of its table of contents',
      compression: 'gzip',
      hasRootEntry: true,
      prefetchEnd: 0,
    });
  });

  it('is read with its chunks alone', async () => {
    const layer = await stargzOf([file('a', noise(500_000, 'a')), file('b', noise(1000, 'b'))]);
    const index = await indexed(layer);
    const source = memorySource(layer.blob);
    const ino = index.lookup(1, Buffer.from('b'))?.ino ?? 0;
    expect(await contentOf(index, source, ino)).toEqual(noise(1000, 'b'));
    expect(source.reads).toHaveLength(1);
    expect(source.reads[0]?.[1]).toBeLessThan(5000);
  });

  it('hides its landmarks, and what stands before one is read first', async () => {
    const layer = await stargzOf([
      file('first', noise(100)),
      file('.prefetch.landmark', '\x0f'),
      file('later', noise(100)),
      file('d/.prefetch.landmark', 'is a file like any other'),
    ]);
    const index = await indexed(layer);
    expect([...treeOf(index).keys()].toSorted()).toEqual([
      '',
      'd',
      'd/.prefetch.landmark',
      'first',
      'later',
    ]);
    expect(index.info.prefetchEnd).toBe(100);
    const none = await indexed(
      await stargzOf([file('.no.prefetch.landmark', '\x0f'), file('a', 'a')]),
    );
    expect([...treeOf(none).keys()].toSorted()).toEqual(['', 'a']);
    expect(none.info.prefetchEnd).toBe(0);
  });

  it('shows holes that its table leaves out', async () => {
    const layer = await stargzOf([file('f', Buffer.concat([noise(50), Buffer.alloc(50)]))], {
      chunkSize: 50,
      change: ([first, second]) => [first ?? {}, { ...second, chunkType: 'zeros', chunkSize: 50 }],
    });
    const index = await indexed(layer);
    expect((await contentsOf(index, memorySource(layer.blob)))['f']).toBe(
      Buffer.concat([noise(50), Buffer.alloc(50)]).toString('latin1'),
    );
    expect(index.info.tarSize).toBe(50);
  });

  it('that two files share a chunk of is read for both', async () => {
    const layer = await stargzOf([file('a', 'same'), file('b', 'same')], {
      change: ([a, b]) => [a ?? {}, { ...b, offset: a?.['offset'] }],
    });
    const index = await indexed(layer);
    expect(index.info.spanCount).toBe(1);
    expect(await contentsOf(index, memorySource(layer.blob))).toEqual({
      a: 'same',
      b: 'same',
    });
  });
});

describe('a table of contents that lies', () => {
  type Change = (entries: TocFields[]) => TocFields[];
  const files = [file('a', noise(3000, 'a')), file('b', noise(3000, 'b'))];
  const first =
    (change: TocFields): Change =>
    ([head, ...rest]) => [{ ...head, ...change }, ...rest];

  async function changed(change: Change): Promise<{ index: LayerIndex; layer: Stargz }> {
    const layer = await stargzOf(files, { change });
    return { index: await indexed(layer), layer };
  }

  it.each<[string, Change, string]>([
    [
      'a chunk behind the blob',
      first({ offset: 1e9 }),
      'a chunk lies at byte 1000000000 of the blob',
    ],
    ['a chunk in the table itself', first({ offset: 1e5 }), 'expected one before'],
    ['a chunk too large to be read', first({ size: 2 ** 40 }), 'expected at most 67108864'],
    [
      'chunks that overlap',
      ([a, b]) => [a ?? {}, { ...b, offset: a?.['offset'], innerOffset: 10 }],
      'two chunks overlap',
    ],
    ['a negative inner offset', first({ innerOffset: -1 }), '"innerOffset" is -1'],
    [
      'hard links to each other',
      (entries) => [
        ...entries,
        { type: 'hardlink', name: 'h', linkName: 'i' },
        { type: 'hardlink', name: 'i', linkName: 'h' },
      ],
      'its target "i" is not there',
    ],
    [
      'a path that is longer than any',
      (entries) => [...entries, { type: 'dir', name: 'a/'.repeat(100_000) }],
      'expected at most 4096',
    ],
    [
      'a link to nothing',
      (entries) => [...entries, { type: 'hardlink', name: 'h', linkName: 'x' }],
      'its target "x" is not there',
    ],
    [
      'a whiteout of nothing',
      (entries) => [...entries, { type: 'reg', name: '.wh.' }],
      'expected a file name',
    ],
    [
      'chunks that are scattered',
      ([a, b]) => [
        { ...a, size: 6000, chunkSize: 3000 },
        {
          ...a,
          type: 'chunk',
          offset: b?.['offset'],
          chunkOffset: 3000,
          chunkSize: 3000,
          chunkDigest: b?.['chunkDigest'],
        },
        { ...b, size: 9000, chunkSize: 3000 },
        {
          ...b,
          type: 'chunk',
          chunkOffset: 3000,
          chunkSize: 3000,
          offset: a?.['offset'],
          chunkDigest: a?.['chunkDigest'],
        },
        { ...b, type: 'chunk', chunkOffset: 6000, chunkSize: 3000 },
      ],
      'the chunks of a file are scattered',
    ],
  ])('about %s is refused', async (_, change, message) => {
    await expect(changed(change)).rejects.toThrow(message);
  });

  it.each<[string, Change]>([
    [
      "another file's place",
      ([a, b]) => [
        { ...a, offset: b?.['offset'] },
        { ...b, offset: a?.['offset'] },
      ],
    ],
    ['a place between members', first({ offset: 1 })],
    ['a shorter size', first({ size: 2000 })],
    ['a longer size', first({ size: 3001 })],
    ['an inner offset', first({ innerOffset: 512 })],
  ])('about %s never shows a wrong byte', async (_, change) => {
    const { index, layer } = await changed(change);
    const ino = index.lookup(1, Buffer.from('a'))?.ino ?? 0;
    const reading = contentOf(index, memorySource(layer.blob), ino);
    await expect(reading).rejects.toThrow('the bytes from memory are not those of the index');
  });

  it('is refused where the manifest names another digest', async () => {
    const { blob } = await stargzOf(files);
    const annotations = { [annotation]: digestOf('other') };
    const toc = await findToc({ source: memorySource(blob), annotations }, never);
    await expect(open(toc as PackedToc, blob)).rejects.toThrow(
      /its digest is sha256:\w+, expected/,
    );
  });

  it('gives an index whose files read right, or an error, whatever is changed in it', async () => {
    const names = [
      'offset',
      'size',
      'chunkOffset',
      'chunkSize',
      'innerOffset',
      'type',
      'name',
      'chunkDigest',
      'linkName',
    ];
    const values = fc.oneof(
      fc.integer({ min: -1, max: 4000 }),
      fc.constantFrom('dir', 'chunk', 'reg', 'hardlink', 'a', 'b', '', 2 ** 53, null, digestOf('')),
    );
    const mutations = fc.array(fc.tuple(fc.nat(2), fc.constantFrom(...names), values), {
      maxLength: 3,
    });
    const contents = new Set(['a', 'b', 'c'].map((seed) => noise(3000, seed).toString('latin1')));
    await fc.assert(
      fc.asyncProperty(mutations, async (changes) => {
        const change: Change = (entries) => {
          const copy = entries.map((entry) => ({ ...entry }));
          for (const [at, name, value] of changes) Object.assign(copy[at] ?? {}, { [name]: value });
          return copy;
        };
        const layer = await stargzOf([...files, file('c', noise(3000, 'c'))], { change });
        try {
          const read = await contentsOf(await indexed(layer), memorySource(layer.blob));
          for (const content of Object.values(read)) {
            if (content !== '') expect(contents.has(content)).toBe(true);
          }
        } catch (error) {
          expect(error).toBeInstanceOf(SiphonError);
        }
      }),
      { numRuns: 40 },
    );
  });
});

describe('findToc', () => {
  it('finds none in an ordinary layer, without a read', async () => {
    const source = memorySource(gzipSync(await tarOf([file('a', noise(100_000))])));
    expect(await findToc({ source, annotations: {} }, never)).toBeUndefined();
    expect(source.reads).toEqual([]);
  });

  it('finds none where the manifest names one that is not there', async () => {
    const source = memorySource(gzipSync(await tarOf([file('a', noise(100_000))])));
    const annotations = { [annotation]: digestOf('a table') };
    expect(await findToc({ source, annotations }, never)).toBeUndefined();
  });

  it('finds none in blobs shorter than a footer', async () => {
    for (const size of [0, 1, 46, 51]) {
      const source = memorySource(Buffer.alloc(size));
      const annotations = { [annotation]: digestOf('a table') };
      expect(await findToc({ source, annotations }, never)).toBeUndefined();
    }
  });

  it.each([
    ['estargz', false],
    ['legacy stargz', true],
  ])('does not believe a table of %s that nothing binds', async (_kind, legacy) => {
    const { blob } = await stargzOf(everything, { legacy });
    const source = memorySource(blob);
    expect(await findToc({ source, annotations: {} }, never)).toBeUndefined();
  });

  it.each([
    ['eStargz', false],
    ['legacy stargz', true],
  ])('leaves %s that nothing binds to be streamed, whose index says why', async (kind, legacy) => {
    const { blob } = await stargzOf(everything, { legacy });
    for (const pieceSize of [7, 64 << 10])
      expect(indexOf(blob, { pieceSize }).info.formatReason).toBe(
        `indexed from its own bytes (it ends as ${kind} does, whose table of contents is used where the manifest names its digest)`,
      );
  });

  it('does not use chunks without digests, also where the table is bound', async () => {
    const { blob, digest } = await stargzOf([file('a', 'a')], { legacy: true });
    const layer = { source: memorySource(blob), annotations: { [annotation]: digest } };
    const toc = await findToc(layer, never);
    await expect(open(toc as PackedToc, blob)).rejects.toThrow(
      'expected a sha256 digest to check it by',
    );
  });

  it('refuses a footer that leads out of the blob', async () => {
    const { blob, digest } = await stargzOf(everything, { tocOffset: 1e9 });
    const layer = { source: memorySource(blob), annotations: { [annotation]: digest } };
    await expect(findToc(layer, never)).rejects.toThrow('it lies at byte 1000000000');
  });

  it('fetches a table with its footer, or with one more read where it is large', async () => {
    for (const [count, reads] of [
      [10, 1],
      [1500, 2],
    ] as const) {
      const entries = Array.from({ length: count }, (_, i) => file(`f${i}`, noise(10, `${i}`)));
      const { blob, digest } = await stargzOf(entries);
      const source = memorySource(blob);
      await findToc({ source, annotations: { [annotation]: digest } }, never);
      expect(source.reads).toHaveLength(reads);
    }
  });

  it('does not believe a zstd:chunked table with another digest, or without one', async () => {
    const blob = Buffer.alloc(300);
    const position = { 'io.github.containers.zstd-chunked.manifest-position': '208:20:300:1' };
    const wrong = {
      ...position,
      'io.github.containers.zstd-chunked.manifest-checksum': digestOf('x'),
    };
    const source = memorySource(blob);
    await expect(findToc({ source, annotations: wrong }, never)).rejects.toThrow(
      'as the manifest says',
    );
    expect(await findToc({ source, annotations: position }, never)).toBeUndefined();
  });
});

import { describe, expect, test } from 'vitest';
import { indexOf, listingOf, treeOf } from './support/layers.js';
import {
  type TarPiece,
  dir,
  file,
  gnuLong,
  hardlink,
  paxHeader,
  pieceBytes,
  symlink,
  tarOf,
} from './support/tar-bytes.js';

const listing = (...pieces: TarPiece[]) => listingOf(indexOf(tarOf(...pieces)));
const tree = (...pieces: TarPiece[]) => treeOf(indexOf(tarOf(...pieces)));
const xattrs = (name: string, value: string) =>
  file('a', '', { pax: { [`SCHILY.xattr.${name}`]: value } });
const sparseNamed = (name: string) =>
  file('a', '', {
    pax: {
      'GNU.sparse.major': '0',
      'GNU.sparse.minor': '1',
      'GNU.sparse.numblocks': '0',
      'GNU.sparse.name': name,
    },
  });
const withEnd = (...parts: Buffer[]) => Buffer.concat([...parts, Buffer.alloc(1024)]);

describe('names', () => {
  test.each([
    ['./a/./b', ['40755 a', '100644 a/b']],
    ['/a', ['100644 a']],
    ['../../a', ['100644 a']],
    ['a//b', ['40755 a', '100644 a/b']],
    ['a/../b', ['100644 b']],
    ['\xff\xfe', ['100644 \xff\xfe']],
    ['a/.wh.b/c', ['40755 a', '40755 a/.wh.b', '100644 a/.wh.b/c']],
  ])('%j', (path, expected) => {
    expect(listing(file(path))).toEqual(expected);
  });

  test('of v7 directories end in a slash', () => {
    expect(listing({ path: 'd/', type: '\0', mode: 0o700 })).toEqual(['40700 d']);
  });

  test('of 255 bytes, from a PAX record', () => {
    const name = '\xe9'.repeat(255);
    expect(listing(file('short', '', { pax: { path: name } }))).toEqual([`100644 ${name}`]);
    expect(() => listing(file('short', '', { pax: { path: `${name}a` } }))).toThrow(
      /has 256 bytes, expected at most 255/,
    );
  });

  test('from GNU headers', () => {
    const name = `${'d/'.repeat(80)}f`;
    const target = 't'.repeat(200);
    const blob = withEnd(
      gnuLong('L', name),
      gnuLong('K', target),
      pieceBytes({ path: 'cut', type: '2', magic: 'ustar  \0' }),
    );
    const found = treeOf(indexOf(blob));
    expect(found.get(name)?.target).toBe(target);
  });
});

describe('the root', () => {
  test('without an entry is 0755, of root, at the epoch', () => {
    const index = indexOf(tarOf(file('a')));
    expect(index.inode(1)).toMatchObject({
      mode: 0o40755,
      uid: 0,
      gid: 0,
      mtimeSeconds: 0,
      nlink: 2,
    });
    expect(index.info.hasRootEntry).toBe(false);
  });

  test('takes the attributes of its entry', () => {
    const index = indexOf(tarOf(dir('./', { mode: 0o1777, uid: 5, mtime: 7 })));
    expect(index.inode(1)).toMatchObject({ mode: 0o41777, uid: 5, mtimeSeconds: 7 });
    expect(index.info.hasRootEntry).toBe(true);
    expect([...index.implicitDirectories()]).toEqual([]);
  });

  test('is nothing else than a directory', () => {
    expect(listing(file('.'), symlink('..', 'x'), file('a'))).toEqual(['100644 a']);
  });
});

describe('what is there already', () => {
  test.each<[string, TarPiece[], string[]]>([
    ['a file by a file', [file('a', '1', { mode: 0o600 }), file('a', '22')], ['100644 a']],
    ['a file by a directory', [file('a'), dir('a'), file('a/b')], ['40755 a', '100644 a/b']],
    ['a directory by a file, with all below', [dir('a'), file('a/b/c'), file('a')], ['100644 a']],
    ['a directory by a symlink', [file('a/b'), symlink('a', 'x')], ['120777 a -> x']],
    ['a symlink by a directory', [symlink('a', 'x'), dir('a')], ['40755 a']],
    [
      'nothing where both are directories',
      [file('a/b'), dir('a', { mode: 0o700 })],
      ['40700 a', '100644 a/b'],
    ],
  ])('is replaced: %s', (_, pieces, expected) => {
    expect(listing(...pieces)).toEqual(expected);
  });

  test('leaves no gap in the inode numbers', () => {
    const index = indexOf(tarOf(file('a/b/c'), file('x'), file('a'), dir('d'), file('d/e')));
    const inos = [...treeOf(index).values()].map((entry) => entry.ino);
    expect(inos.toSorted((a, b) => a - b)).toEqual([1, 2, 3, 4, 5]);
    expect(index.info).toMatchObject({ inodeCount: 5, entryCount: 4 });
    expect(index.parent(index.lookup(1, Buffer.from('d'))?.ino ?? 0)).toBe(1);
  });
});

describe('symlinks in the parent part', () => {
  test.each<[string, TarPiece[], string[]]>([
    [
      'relative',
      [dir('d'), symlink('l', 'd'), file('l/f')],
      ['40755 d', '100644 d/f', '120777 l -> d'],
    ],
    [
      'absolute',
      [dir('d'), symlink('l', '/d'), file('l/f')],
      ['40755 d', '100644 d/f', '120777 l -> /d'],
    ],
    [
      'out of the root',
      [symlink('l', '../../d'), file('l/f')],
      ['40755 d', '100644 d/f', '120777 l -> ../../d'],
    ],
    [
      'to what is not there',
      [symlink('l', 'x/y'), file('l/f')],
      ['120777 l -> x/y', '40755 x', '40755 x/y', '100644 x/y/f'],
    ],
    [
      'in a chain',
      [dir('d'), symlink('m', 'd'), symlink('l', 'm'), file('l/f')],
      ['40755 d', '100644 d/f', '120777 l -> m', '120777 m -> d'],
    ],
  ])('lead on: %s', (_, pieces, expected) => {
    expect(listing(...pieces)).toEqual(expected);
  });

  test.each<[string, TarPiece[], string]>([
    // Go's RootPath takes ".." off the path as it is written, but for the target of a first or last link.
    ['first, relative', [symlink('x', 't/u'), symlink('l', 'x/../y'), file('l/f')], 't/y/f'],
    ['first, from the root', [symlink('x', 't/u'), symlink('l', 'x/../y'), file('/l/f')], 'y/f'],
    ['last, absolute', [symlink('x', 't/u'), symlink('d/l', '/x/../y'), file('d/l/f')], 't/y/f'],
    [
      'behind another link',
      [dir('t/u'), symlink('m', 't/u'), symlink('l', 'm'), symlink('t/u/k', '../z'), file('l/k/f')],
      'z/f',
    ],
  ])('with ".." in the target of one that is %s', (_, pieces, expected) => {
    expect([...tree(...pieces).keys()]).toContain(expected);
  });

  test('are followed 255 times, and 40 times on the way to another', () => {
    const chain = (count: number) =>
      Array.from({ length: count }, (__, n) => symlink(`l${n}`, `l${n + 1}`));
    expect(listing(...chain(255), file('l0/f'))).toContain('100644 l255/f');
    expect(() => listing(...chain(256), file('l0/f'))).toThrow(/more than 255 symlinks/);
    expect(listing(...chain(40), file('l0/d/f'))).toContain('100644 l40/d/f');
    expect(() => listing(...chain(60), file('l0/d/f'))).toThrow(/more than 40 nested symlinks/);
  });

  test('may not lead to a path over 4,096 bytes', () => {
    const long = symlink('l', '');
    const pieces = [{ ...long, pax: { linkpath: 'a/'.repeat(2045) } }, file('l/name-of-16-bytes')];
    expect(() => listing(...pieces)).toThrow(/expected at most 4096 once links are followed/);
  });

  test('are seen anew after they change', () => {
    const pieces = [
      dir('d'),
      dir('e'),
      symlink('l', 'd'),
      file('l/f'),
      symlink('l', 'e'),
      file('l/g'),
    ];
    expect(listing(...pieces)).toEqual([
      '40755 d',
      '100644 d/f',
      '40755 e',
      '100644 e/g',
      '120777 l -> e',
    ]);
  });

  test('that go round end in an error', () => {
    expect(() => listing(symlink('a', 'b'), symlink('b', 'a'), file('a/f'))).toThrow(
      /more than 255 symlinks/,
    );
  });

  test('do not make a directory of a file', () => {
    expect(() => listing(file('a'), file('a/b'))).toThrow(/"a" is a file, expected a directory/);
  });
});

describe('hard links', () => {
  test('share the inode, which the last header describes', () => {
    const found = tree(
      file('a', 'xyz', { mode: 0o600 }),
      hardlink('d/b', 'a', { mode: 0o640, uid: 3 }),
    );
    expect(found.get('a')).toEqual(found.get('d/b'));
    expect(found.get('a')).toMatchObject({ nlink: 2, size: 3, mode: 0o100640, uid: 3 });
  });

  test('to a symlink link the symlink', () => {
    const found = tree(symlink('s', 'x'), hardlink('t', 's'));
    expect(found.get('t')).toMatchObject({ target: 'x', nlink: 2, mode: 0o120777 });
  });

  test.each([
    ['s', 't 120777'],
    ['s/', 't 100644'],
    ['s/.', 't 100644'],
    ['l/../f', 't 100600'],
    ['d/../f', 't 100644'],
  ])('to %s follow symlinks but in the last name', (target, expected) => {
    const found = tree(
      file('f'),
      file('far/f', '', { mode: 0o600 }),
      symlink('s', 'f'),
      symlink('l', 'far/away'),
      hardlink('t', target, { mode: target.startsWith('l') ? 0o600 : 0o644 }),
    );
    expect(`t ${found.get('t')?.mode.toString(8)}`).toBe(expected);
  });

  test('keep the file when the first name is replaced', () => {
    const found = tree(file('a', 'old'), hardlink('b', 'a'), file('a', 'newer'));
    expect(found.get('b')).toMatchObject({ size: 3, nlink: 1 });
    expect(found.get('a')).toMatchObject({ size: 5, nlink: 1 });
  });

  test.each<[string, TarPiece[]]>([
    ['nothing', [hardlink('b', 'a')]],
    ['themselves', [file('a'), hardlink('a', 'a')]],
  ])('to %s are an error', (_, pieces) => {
    expect(() => listing(...pieces)).toThrow(/its target "a" is not there/);
  });

  test('to a directory are an error', () => {
    expect(() => listing(dir('a'), hardlink('b', 'a'))).toThrow(/hard link to the directory/);
  });
});

describe('whiteouts', () => {
  test('become devices 0:0', () => {
    const found = tree(file('d/.wh.gone', '', { uid: 4 }));
    expect(found.get('d/gone')).toMatchObject({
      mode: 0o020000,
      rdevMajor: 0,
      rdevMinor: 0,
      uid: 4,
    });
  });

  test('of all become an xattr, wherever they stand', () => {
    for (const pieces of [
      [file('d/.wh..wh..opq'), dir('d', { mode: 0o700 }), file('d/f')],
      [dir('d', { mode: 0o700 }), file('d/f'), file('d/.wh..wh..opq')],
    ]) {
      expect(tree(...pieces).get('d')).toMatchObject({
        mode: 0o40700,
        xattrs: { 'trusted.overlay.opaque': 'y' },
      });
    }
  });

  test('of what the layer itself has leave it, and hide what is below', () => {
    const found = tree(file('d/f'), file('.wh.d'), file('g'), file('.wh.g'));
    expect(found.get('d')).toMatchObject({
      mode: 0o40755,
      xattrs: { 'trusted.overlay.opaque': 'y' },
    });
    expect(found.get('g')?.mode).toBe(0o100644);
  });

  test('go when the name comes again', () => {
    expect(listing(file('.wh.a'), file('a'))).toEqual(['100644 a']);
  });

  test.each(['.wh.', '.wh..', '.wh...'])('%s hides nothing that has a name', (name) => {
    expect(() => listing(file(name))).toThrow(/Cannot apply whiteout/);
  });
});

describe('attributes', () => {
  test('PAX records override the header', () => {
    const pax = {
      mtime: '-1.25',
      uid: '3000000',
      gid: '4000000000',
      'SCHILY.xattr.user.a': 'v\0\xff',
      size: '3',
    };
    const found = tree(file('a', 'abc', { mode: 0o4711, size: 0, pax })).get('a');
    expect(found).toMatchObject({
      mode: 0o104711,
      uid: 3_000_000,
      gid: 4_000_000_000,
      mtimeSeconds: -2,
      mtimeNanoseconds: 750_000_000,
      size: 3,
      xattrs: { 'user.a': 'v\0\xff' },
    });
  });

  test('global PAX records mean nothing', () => {
    const blob = withEnd(paxHeader({ path: 'other', mtime: '5' }, 'g'), pieceBytes(file('a')));
    expect(treeOf(indexOf(blob)).get('a')).toMatchObject({ mtimeSeconds: 0 });
  });

  test('xattrs that no archive may set are dropped', () => {
    const pax = Object.fromEntries(
      [
        'trusted.overlay.opaque',
        'trusted.x',
        'user.overlay.opaque',
        'odd',
        'system.odd',
        'security.odd',
      ].map((name) => [`SCHILY.xattr.${name}`, 'y']),
    );
    expect(tree(dir('d', { pax })).get('d')?.xattrs).toEqual({ 'security.odd': 'y' });
  });

  test.each(['99999999999.5', '9007199254740993', '9223372036854775807', '-9223372036854775808'])(
    'the time %s, out of range, becomes the epoch',
    (mtime) => {
      expect(tree(file('a', '', { pax: { mtime } })).get('a')).toMatchObject({
        mtimeSeconds: 0,
        mtimeNanoseconds: 0,
      });
    },
  );

  test('owners are cut to 32 bits, and the one that means nobody is root', () => {
    const found = tree(file('a', '', { pax: { uid: '-1', gid: '4294967301' } }));
    expect(found.get('a')).toMatchObject({ uid: 0, gid: 5 });
  });

  test('what is said of a global header is not said of the next entry', () => {
    const blob = withEnd(
      paxHeader({ path: 'renamed' }),
      gnuLong('L', 'renamed'),
      paxHeader({ comment: 'x' }, 'g'),
      pieceBytes(file('a')),
    );
    expect(listingOf(indexOf(blob))).toEqual(['100644 a']);
  });

  test('a global header takes the place of what has its name', () => {
    const blob = withEnd(
      pieceBytes(file('d/old')),
      pieceBytes({ path: 'd/old', type: 'g', content: '' }),
      pieceBytes({ path: 'e/f', type: 'g', content: '' }),
    );
    expect(listingOf(indexOf(blob))).toEqual(['40755 d', '40755 e']);
  });

  test('a whiteout is one whatever its type', () => {
    expect(listing(file('.wh.a', '', { type: 'Z' }))).toEqual(['20000 a']);
  });

  test('devices and fifos', () => {
    const found = tree(
      { path: 'c', type: '3', major: 4, minor: 300 },
      { path: 'b', type: '4', major: 8, minor: 1 },
      { path: 'p', type: '6' },
    );
    expect(found.get('c')).toMatchObject({ mode: 0o020644, rdevMajor: 4, rdevMinor: 300 });
    expect(found.get('b')).toMatchObject({ mode: 0o060644, rdevMajor: 8, rdevMinor: 1 });
    expect(found.get('p')?.mode).toBe(0o010644);
  });

  test('directories count their subdirectories', () => {
    const found = tree(dir('a'), dir('a/b'), dir('a/c'), file('a/f'));
    expect(found.get('a')?.nlink).toBe(4);
    expect(found.get('')?.nlink).toBe(3);
  });

  test('directories without an entry are listed, others not', () => {
    const index = indexOf(tarOf(file('a/b/f'), dir('a/b'), symlink('l', 'x/y'), file('l/g')));
    const implicit = [...index.implicitDirectories()];
    expect(implicit.map(({ path }) => path)).toEqual(['', 'a', 'x', 'x/y']);
    expect(implicit.every(({ ino }) => index.isImplicit(ino))).toBe(true);
    expect(index.isImplicit(index.lookup(1, Buffer.from('l'))?.ino ?? 0)).toBe(false);
  });

  test('directories without an entry are named by those with one that they lie in', () => {
    const index = indexOf(tarOf(dir('a/b'), dir('a'), file('a/b/c/d/f'), dir('a/b/c/d')));
    const paths = [...index.implicitDirectories()].map(({ path }) => path);
    expect(paths).toEqual(['', 'a/b/c']);
  });

  test('directories without an entry get the group that their parent hands on', () => {
    const found = tree(dir('d', { mode: 0o2755, gid: 7 }), file('d/new/f'), file('d/new/deep/f'));
    expect(found.get('d/new')).toMatchObject({ mode: 0o40755, gid: 7 });
    expect(found.get('d/new/deep')).toMatchObject({ mode: 0o40755, gid: 0 });
  });
});

describe('what cannot be indexed', () => {
  test.each<[string, TarPiece, RegExp]>([
    ['an unknown type', file('a', '', { type: 'Z' }), /its type is "Z"/],
    [
      'a path over 4,096 bytes',
      file('a', '', { pax: { path: 'a/'.repeat(2100) } }),
      /expected at most 4096 \(tar entry "a\/a/,
    ],
    ['a GNU.sparse.name with a NUL', sparseNamed('a\0b'), /a name in it has a NUL/],
    ['a symlink to nothing', symlink('a', ''), /link target has 0 bytes/],
    ['a size beyond 2^53', file('a', '', { pax: { size: '9007199254740993' } }), /its size is/],
    ['a time that is none', file('a', '', { pax: { atime: 'x' } }), /PAX record atime of "a"/],
    ['a size that is none, of a folder', dir('a', { pax: { size: 'x' } }), /PAX record size/],
    ['a capability that is none', xattrs('security.capability', 'y'), /is no capability/],
    ['an xattr without a name', xattrs('user.', 'y'), /has no name/],
    ['an xattr over 255 bytes', xattrs(`user.${'n'.repeat(251)}`, ''), /longer than Linux allows/],
    [
      'an xattr over 64 KiB',
      file('a', '', { pax: { 'SCHILY.xattr.user.a': 'x'.repeat(65537) } }),
      /longer than Linux allows/,
    ],
  ])('%s', (_, piece, message) => {
    expect(() => listing(piece)).toThrow(message);
  });

  test('an extended header over 1 MiB', () => {
    expect(() => listing({ path: 'x', type: 'x', size: 2 << 20 })).toThrow(
      /expected at most 1048576/,
    );
  });

  test.each([
    ['a header', 700],
    ['the content of "big"', 512 + 1000],
  ])('a tar cut in the middle of %s', (what, length) => {
    const blob = tarOf(what === 'a header' ? dir('d') : file('big', Buffer.alloc(5000)), file('b'));
    expect(() => indexOf(blob.subarray(0, length))).toThrow(`in the middle of ${what}`);
  });

  test('a header after a single block of zeros', () => {
    const blob = Buffer.concat([pieceBytes(file('a')), Buffer.alloc(512), pieceBytes(file('b'))]);
    expect(() => indexOf(blob)).toThrow(/expected two or none/);
  });
});

test('pieces of any size give the same tree', () => {
  const blob = tarOf(
    file('a', 'x'.repeat(1500), { pax: { mtime: '1.5' } }),
    dir('d'),
    file('d/f', 'y'),
  );
  const whole = [...treeOf(indexOf(blob))];
  for (const pieceSize of [1, 7, 511, 513])
    expect([...treeOf(indexOf(blob, { pieceSize }))]).toEqual(whole);
});

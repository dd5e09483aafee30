/**
 * Tars of every kind that unpackers treat in their own ways, one case a line, for a comparison of siphon with
 * containerd. Where siphon gives something else on purpose, the case says what and why.
 */

import { createHash } from 'node:crypto';
import { sparseFile } from '../index/support/sparse-bytes.js';
import {
  type TarPiece,
  dir,
  file,
  gnuLong,
  hardlink,
  paxHeader,
  pieceBytes,
  symlink,
} from '../index/support/tar-bytes.js';
import type { Tree } from './tree.js';

/** A tree, or `refused` where the layer is an error. */
export type Outcome = Tree | 'refused';

export interface TreeCase {
  name: string;
  /** Tars, bottom first. */
  layers: Buffer[];
  /** What siphon gives instead of what containerd does. */
  differs?: { why: string } & (
    | { expected: (theirs: Tree) => Tree }
    /** The same in other words, which containerd takes; it refuses this one. */
    | { inOtherWords: Buffer[] }
  );
}

const layer = (...pieces: (TarPiece | Buffer)[]): Buffer =>
  Buffer.concat([
    ...pieces.map((piece) => (Buffer.isBuffer(piece) ? piece : pieceBytes(piece))),
    Buffer.alloc(1024),
  ]);
const one = (name: string, ...pieces: (TarPiece | Buffer)[]): TreeCase => ({
  name,
  layers: [layer(...pieces)],
});
const stack = (name: string, ...layers: (TarPiece | Buffer)[][]): TreeCase => ({
  name,
  layers: layers.map((pieces) => layer(...pieces)),
});
const chain = (count: number): TarPiece[] =>
  Array.from({ length: count }, (_, n) => ({ ...symlink(`l${n}`, `l${n + 1}`), mtime: 1 }));
/** A file or folder with an mtime, so that it is not taken for one of the epoch. */
const at = (mtime: number, more: Partial<TarPiece> = {}): Partial<TarPiece> => ({ mtime, ...more });
const pax = (records: Record<string, string>): Partial<TarPiece> => ({ pax: records });
const xattr = (name: string, value: string): Partial<TarPiece> =>
  pax({ [`SCHILY.xattr.${name}`]: value });
/** Changes some entries of a tree. */
const changing =
  (changes: Record<string, Partial<Tree[string]>>) =>
  (theirs: Tree): Tree =>
    Object.fromEntries(
      Object.entries(theirs).map(([path, entry]) => [path, { ...entry, ...changes[path] }]),
    );

/** What `file('a', 'x', at(1))` gives. */
const OWN_FILE: Tree[string] = {
  mode: '100644',
  owner: '0:0',
  size: 1,
  mtime: '1000000000',
  digest: createHash('sha256').update('x').digest('hex'),
  xattrs: {},
};
const CAPABILITY = '\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0';
const ACL =
  '\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\x05\0\0\0\x04\0\x04\0\xff\xff\xff\xff\x10\0\x06\0\xff\xff\xff\xff\x20\0\x04\0\xff\xff\xff\xff';
const LONG_NAME = '\xe9'.repeat(255);
const LONG_PATH = Array.from({ length: 37 }, (_, n) => `${n}-${'p'.repeat(96)}`).join('/');

function starTimes(header: Buffer, time: string): void {
  header.write(time, 476, 'latin1');
  header.write('tar\0', 508, 'latin1');
}

/** Base-256 in a field of `length` bytes. */
function base256(header: Buffer, offset: number, length: number, value: bigint): void {
  const hex = BigInt.asUintN(length * 8, value)
    .toString(16)
    .padStart(length * 2, '0');
  Buffer.from(hex, 'hex').copy(header, offset);
  header[offset] = (header[offset] ?? 0) | 0x80;
}

const headers: TreeCase[] = [
  one(
    'every type of entry',
    dir('d', at(5, { mode: 0o2751, uid: 1, gid: 2 })),
    file('d/plain', 'abc', at(6, { mode: 0o4755, uid: 3, gid: 4 })),
    file('d/sticky', '', at(6, { mode: 0o1644 })),
    { path: 'd/v7', type: '\0', content: 'v7', magic: '', mtime: 7 },
    { path: 'd/link', type: '2', linkPath: 'nowhere', uid: 6, gid: 7, mtime: 8 },
    hardlink('d/hard', 'd/plain', at(6, { mode: 0o4755, uid: 3, gid: 4 })),
    { path: 'd/null', type: '3', mode: 0o666, major: 1, minor: 3, mtime: 9 },
    { path: 'd/disk', type: '4', mode: 0o660, gid: 8, major: 259, minor: 70_000, mtime: 10 },
    { path: 'd/fifo', type: '6', mode: 0o6622, mtime: 11 },
  ),
  one('a type bit in the mode', file('a', 'x', at(1, { mode: 0o100755 }))),
  one('a v7 folder, by its slash', { path: 'd/', type: '\0', mode: 0o700, mtime: 3 }),
  one('a file with a slash', file('f/', 'x', at(1))),
  one('an entry without a name', file('', 'x'), file('a', 'x', at(1))),
  one('an unknown type', file('a', '', { type: 'Z' })),
  one('a contiguous file', file('a', '', { type: '7' })),
  one('content behind what has none', { ...symlink('s', 'x'), size: 512 }, file('a', 'x', at(1))),
  one(
    'owners over 2^21, in base 256 and in records',
    file('a', '', at(1, { edit: (h) => base256(h, 108, 8, 3_000_000_000n) })),
    file('b', '', at(1, pax({ uid: '4000000000', gid: '2097152' }))),
  ),
  one('a prefix', file('name', 'x', at(1, { prefix: 'long/prefix' }))),
  one(
    'long names of GNU, which count more than records',
    gnuLong('L', `${'d/'.repeat(60)}f`),
    gnuLong('K', 't'.repeat(300)),
    pieceBytes({ path: 'cut', type: '2', magic: 'ustar  \0', mtime: 1 }),
    gnuLong('L', 'by GNU'),
    pieceBytes(file('c', '', at(1, pax({ path: 'by PAX' })))),
  ),
  one('names of 255 bytes', file('x', 'x', at(1, pax({ path: LONG_NAME })))),
  one('names of 256 bytes', file('x', 'x', pax({ path: `${LONG_NAME}a` }))),
  one('long paths', file('x', 'deep', at(1, pax({ path: LONG_PATH })))),
  one(
    'bytes that are no UTF-8',
    file('raw-\xff\xfe', 'x', at(1)),
    { path: 'link-\xe9', type: '2', linkPath: '\xc3\x28', mtime: 1 },
    file('x', 'y', at(1, pax({ path: 'record-\xe9\xff' }))),
    dir('d\x80', at(1)),
    file('d\x80/\n\t"\\', 'x', at(1)),
  ),
  one('a link of 4,095 bytes', {
    path: 's',
    type: '2',
    mtime: 1,
    ...pax({ linkpath: 'x'.repeat(4095) }),
  }),
  one('a link to nothing', symlink('s', '')),
  one(
    'a prefix in a GNU header, as early Go wrote it',
    { path: 'f', magic: 'ustar  \0', prefix: 'early/go', mtime: 1 },
    { path: 'g', magic: 'ustar  \0', prefix: '00000000001\x0000000000002\0', mtime: 1 },
    { path: 'h', magic: 'ustar  \0', prefix: 'caf\xe9', mtime: 1 },
  ),
  one(
    'magics that are none',
    { path: 'a', magic: 'ustar   ', prefix: 'x', mtime: 1 },
    { path: 'b', magic: 'ustarX00', prefix: 'x', type: '3', major: 1, minor: 3, mtime: 1 },
    { path: 'c', magic: 'ustar\x00XX', prefix: 'x', mtime: 1 },
  ),
  one(
    'star',
    file('a', 'x', at(1, { edit: (h) => h.write('pre', 345) + h.write('tar\0', 508) })),
    file('b', 'x', at(1)),
  ),
  one('times of star that are none', file('a', 'x', { edit: (h) => starTimes(h, 'zz') })),
  one(
    'numbers of 63 bits',
    file('a', 'x', { edit: (h) => base256(h, 136, 12, 2n ** 56n) }),
    file('b', 'x', { edit: (h) => base256(h, 136, 12, 2n ** 63n - 1n) }),
    file('c', 'x', at(1, { edit: (h) => base256(h, 108, 8, 2n ** 60n + 5n) })),
    file('d', 'x', at(1, { edit: (h) => base256(h, 116, 8, -1n) })),
    file('e', 'x', at(1, { edit: (h) => base256(h, 100, 8, 2n ** 61n + 0o4711n) })),
  ),
  one('a number of 64 bits', file('a', 'x', { edit: (h) => base256(h, 136, 12, 2n ** 63n) })),
  one(
    'octal numbers with blanks within',
    file('a', 'x', { edit: (h) => h.write('1 \x00 3', 108) }),
  ),
  one('a size below zero', file('a', '', { edit: (h) => base256(h, 124, 12, -1n) })),
  one(
    'a size below zero of what has none',
    dir('d', at(1, { edit: (h) => base256(h, 124, 12, -1n) })),
  ),
  one(
    'devices whose numbers have too many bits',
    { path: 'a', type: '3', major: 5000, minor: 3, mtime: 1 },
    { path: 'b', type: '4', major: 8, minor: 0x12_3456, mtime: 1 },
  ),
  one('a whiteout of an unknown type', file('.wh.a', '', { type: 'Z' }), file('b', 'x', at(1))),
  one('the root, of an unknown type', file('./', '', { type: 'Z' }), file('b', 'x', at(1))),
  { name: 'one block of zeros', layers: [layer(file('a', 'x', at(1))).subarray(0, 1536)] },
  { name: 'no block of zeros', layers: [layer(file('a', 'x', at(1))).subarray(0, 1024)] },
  { name: 'an end within the padding', layers: [layer(file('a', 'x', at(1))).subarray(0, 600)] },
  {
    name: 'an end within the padding of records',
    layers: [
      Buffer.concat([pieceBytes(file('a', 'x', at(1))), paxHeader({ a: 'b' }).subarray(0, 600)]),
    ],
  },
  {
    name: 'garbage behind the end',
    layers: [Buffer.concat([layer(file('a', 'x', at(1))), Buffer.from('garbage'.repeat(200))])],
  },
];

const records: TreeCase[] = [
  one(
    'global records mean nothing',
    paxHeader({ path: 'other', mtime: '5', uid: '7' }, 'g'),
    file('a', 'x', at(1)),
  ),
  one(
    'a global record takes away what was said before, and what has its name',
    paxHeader({ path: 'renamed' }),
    gnuLong('L', 'renamed'),
    paxHeader({ comment: 'x' }, 'g'),
    file('a', 'x', at(1)),
    file('d/old', 'x', at(1)),
    { path: 'd/old', type: 'g' },
    paxHeader({ path: 'new/folder/none' }, 'g'),
  ),
  one('a global record that is none', pieceBytes({ path: 'g', type: 'g', content: 'x' })),
  one(
    'numbers with signs, and beyond 32 bits',
    file('a', 'x', at(1, pax({ uid: '+5', gid: '-1' }))),
    file('b', 'x', at(1, pax({ uid: '4294967301', gid: '9223372036854775807' }))),
    file('c', 'x', pax({ mtime: '+5.25', size: '+1' })),
  ),
  one('a number beyond 64 bits', file('a', 'x', pax({ uid: '9223372036854775808' }))),
  one('a time of access that is none', file('a', 'x', pax({ atime: '1e3' }))),
  one('a size that is none, of a folder', dir('a', pax({ size: 'x' }))),
  one(
    'a length with a sign',
    pieceBytes({ path: 'x', type: 'x', content: '+6 a=\n' }),
    file('a', 'x', at(1)),
  ),
  one(
    'a length with NULs behind',
    pieceBytes({ path: 'x', type: 'x', content: '5 a=\n\0' }),
    file('a'),
  ),
  one('a name with a NUL', file('a', 'x', pax({ path: 'a\0b' }))),
  one(
    'all records of one entry',
    file(
      'short',
      'abc',
      at(
        1,
        pax({
          path: 'the/name',
          size: '3',
          uid: '10',
          gid: '11',
          uname: 'somebody',
          gname: 'some',
          mtime: '1234567890.123456789',
          atime: '1.5',
          ctime: '2.5',
          comment: 'x=y',
        }),
      ),
    ),
  ),
  one(
    'an empty record means what the header has',
    file('a', 'x', at(9, pax({ path: '', uid: '' }))),
  ),
  one(
    'of two headers of records the later counts',
    paxHeader({ uid: '5', gid: '6' }),
    paxHeader({ uid: '7' }),
    file('a', 'x', at(1)),
  ),
  one('records that are none', paxHeader({}), file('a', 'x', at(1))),
  one(
    'times with nanoseconds, of all types',
    file('a', 'x', pax({ mtime: '1700000000.000000001' })),
    dir('d', pax({ mtime: '1700000001.999999999' })),
    { path: 'l', type: '2', linkPath: 'x', ...pax({ mtime: '1700000002.5' }) },
    { path: 'p', type: '6', ...pax({ mtime: '4294967296.25' }) },
    file('cut', 'x', pax({ mtime: '1.1234567899' })),
  ),
  {
    ...one(
      'times before 1970',
      file('a', 'x', pax({ mtime: '-1.25' })),
      file('b', 'x', { edit: (h) => base256(h, 136, 12, -86_400n) }),
      dir('d', pax({ mtime: '-1000000000' })),
    ),
    differs: {
      why: 'containerd makes the epoch of all times before it; the file systems hold them, and a tar’s time is kept where it can be',
      expected: changing({
        a: { mtime: '-1250000000' },
        b: { mtime: '-86400000000000' },
        d: { mtime: '-1000000000000000000' },
      }),
    },
  },
  one(
    'times that nanoseconds in 64 bits cannot hold',
    file('a', 'x', pax({ mtime: '9223372037' })),
    file('b', 'x', pax({ mtime: '9007199254740993' })),
    file('c', 'x', pax({ mtime: '9223372036854775807' })),
    dir('d', pax({ mtime: '99999999999.5' })),
  ),
  one('attributes without a name', file('a', 'x', xattr('user.', 'x'))),
  one('a capability that is none', file('a', 'x', xattr('security.capability', 'x'))),
  one('attributes with names of 256 bytes', symlink('a', 'b'), {
    ...symlink('c', 'd'),
    ...xattr(`user.${'n'.repeat(251)}`, 'x'),
  }),
  one(
    'extended attributes of any bytes',
    file('a', 'x', at(1, xattr('user.note', 'v\0\xff\n='))),
    file('b', 'x', at(1, { mode: 0o755, ...xattr('security.capability', CAPABILITY) })),
    file('c', 'x', at(1, { mode: 0o664, ...xattr('system.posix_acl_access', ACL) })),
    dir('d', at(1, xattr('user.dir', 'x'))),
    file('e', 'x', at(1, xattr('user.empty', ''))),
    file('f', 'x', at(1, xattr('odd', 'x'))),
  ),
  one(
    'attributes that are not an archive’s to set',
    file('a', 'x', at(1, xattr('trusted.note', 'x'))),
    dir('d', at(1, xattr('trusted.overlay.opaque', 'y'))),
    file('d/f', 'x', at(1)),
    { path: 'l', type: '2', linkPath: 'a', mtime: 1, ...xattr('user.note', 'x') },
  ),
];

const sparse = { path: 's', size: 100_000, pieces: [{ offset: 5000, data: Buffer.from('data') }] };

const sparseFiles: TreeCase[] = [
  one('sparse 0.0', sparseFile('0.0', sparse), file('after', 'x', at(1))),
  one('sparse 0.1', sparseFile('0.1', sparse), file('after', 'x', at(1))),
  one('sparse 1.0', sparseFile('1.0', sparse), file('after', 'x', at(1))),
  one('sparse that lies', sparseFile('1.0', { ...sparse, size: 5001 })),
  {
    ...one('sparse of old GNU', sparseFile('old GNU', sparse), file('after', 'x', at(1))),
    differs: {
      why: 'containerd knows no type S and refuses the layer; the format is as well defined as the others',
      inOtherWords: [layer(sparseFile('1.0', sparse), file('after', 'x', at(1)))],
    },
  },
  one('sparse without a count', file('a', '', pax({ 'GNU.sparse.map': '0,0' }))),
  one(
    'sparse that is not',
    file('a', 'x', at(1, pax({ 'GNU.sparse.map': '', 'GNU.sparse.name': 'b' }))),
  ),
  one(
    'GNU sparse version of tomorrow',
    file('a', 'x', pax({ 'GNU.sparse.major': '2', 'GNU.sparse.minor': '0' })),
  ),
];

const names: TreeCase[] = [
  one('./ and // and /./', file('./a/./b', 'x', at(1)), file('c//d', 'x', at(1))),
  one('absolute names', file('/a', 'x', at(1)), dir('/d', at(2)), file('/d/e', 'x', at(3))),
  one('names that lead out', file('../../a', 'x', at(1)), file('b/../../../c', 'x', at(1))),
  one('missing parents', file('a/b/c', 'x', at(1)), dir('a', at(5, { mode: 0o700 }))),
  {
    ...one('the root', dir('./', { mode: 0o1777, uid: 5, mtime: 7 }), file('a', 'x', at(1))),
    differs: {
      why: 'containerd skips it; umoci and Docker give the root what its entry says, which is what the image’s author set',
      expected: changing({ '.': { mode: '41777', owner: '5:0' } }),
    },
  },
  one('the root as a file', file('.', 'x'), symlink('..', 'x'), file('a', 'x', at(1))),
  one('below a file', file('a', 'x', at(1)), file('a/b', 'x', at(1))),
  one('below a link to a file', file('f', 'x'), symlink('a', 'f'), file('a/b', 'x')),
  one(
    'below links to folders',
    dir('d', at(1)),
    { ...symlink('l', 'd'), mtime: 1 },
    file('l/f', 'x', at(1)),
    { ...symlink('m', '/l'), mtime: 1 },
    file('m/g', 'x', at(1)),
    { ...symlink('out', '../../new/place'), mtime: 1 },
    file('out/h', 'x', at(1)),
  ),
  one(
    'below links whose targets have ..',
    { ...symlink('x', 't/u'), mtime: 1 },
    { ...symlink('l', 'x/../y'), mtime: 1 },
    file('l/relative', 'x', at(1)),
    file('/l/absolute', 'x', at(1)),
    dir('t/u/v', at(1)),
    { ...symlink('t/u/v/k', '../z'), mtime: 1 },
    { ...symlink('m', 'x/v'), mtime: 1 },
    { ...symlink('n', 'm'), mtime: 1 },
    file('n/k/f', 'x', at(1)),
  ),
  one('below 255 links', ...chain(255), file('l0/f', 'x', at(1))),
  one('below 256 links', ...chain(256), file('l0/f', 'x')),
  one('far below 60 links', ...chain(60), file('l0/d/f', 'x')),
  one(
    'names that are long only as they are written',
    file('x', 'x', at(1, pax({ path: `${'a/../'.repeat(1000)}f` }))),
  ),
  one(
    'folders by need, in one that hands on its group',
    dir('d', at(1, { mode: 0o2755, gid: 7 })),
    file('d/new/deep/f', 'x', at(1)),
  ),
  one('below a loop', symlink('a', 'b'), symlink('b', 'a'), file('a/f', 'x')),
  one('below a link to itself', symlink('a', 'a'), file('a/f', 'x')),
  one(
    'below a link that changes',
    dir('d'),
    dir('e'),
    symlink('l', 'd'),
    file('l/f', '1', at(1)),
    symlink('l', 'e'),
    file('l/g', '2', at(1)),
  ),
];

const duplicates: TreeCase[] = [
  one('a file twice', file('a', '1', at(1, { mode: 0o600 })), file('a', '22', at(2))),
  one('a folder twice', dir('d', at(1)), file('d/f', 'x', at(1)), dir('d', at(2, { mode: 0o700 }))),
  one(
    'a folder twice, with attributes',
    dir('d', at(1, xattr('user.a', '1'))),
    dir('d', at(2, xattr('user.b', '2'))),
  ),
  one('a file, then a folder', file('a', 'x'), dir('a', at(1)), file('a/b', 'x', at(1))),
  {
    ...one('a folder, then a file', dir('a'), file('a/b/c', 'x'), file('a', 'x', at(1))),
    differs: {
      why: 'containerd gives the times of folders in the end, by path: a folder that is gone gives its own to what has taken its name',
      expected: changing({ a: { mtime: '1000000000' } }),
    },
  },
  one('a folder, then a link', file('a/b', 'x'), dir('d', at(1)), {
    ...symlink('a', 'd'),
    mtime: 1,
  }),
  one(
    'a link, then a folder',
    dir('d', at(1)),
    symlink('a', 'd'),
    dir('a', at(2)),
    file('a/f', 'x', at(1)),
  ),
  one('a link, then a file', file('f', 'x', at(1)), symlink('a', 'f'), file('a', 'y', at(2))),
  one('a device, then a file', { path: 'a', type: '3', major: 1, minor: 3 }, file('a', 'y', at(2))),
  {
    ...one(
      'a folder replaced, and made anew by need',
      dir('a', at(1, { mode: 0o700 })),
      file('a', 'x'),
      symlink('a', 'b'),
      file('a/c', 'x', at(3)),
    ),
    differs: {
      why: 'containerd gives the times of folders in the end, by path: a folder that is gone gives its own to what has taken its name',
      expected: changing({ b: { mtime: '0' } }),
    },
  },
];

const links: TreeCase[] = [
  one('after the file', file('a', 'x', at(1)), hardlink('d/b', 'a', at(1))),
  one('before the file', hardlink('b', 'a'), file('a', 'x')),
  one('to itself', file('a', 'x'), hardlink('a', 'a')),
  one('to a folder', dir('a'), hardlink('b', 'a')),
  one(
    'to links, in a chain',
    file('a', 'x', at(1)),
    hardlink('b', 'a', at(1)),
    hardlink('c', 'b', at(1)),
    hardlink('d', 'c', at(1)),
  ),
  one(
    'to a symlink, which is not followed',
    file('f', 'x', at(1)),
    symlink('s', 'f'),
    hardlink('t', 's'),
  ),
  one(
    'through a symlink',
    dir('d', at(1)),
    file('d/f', 'x', at(1)),
    symlink('s', 'd'),
    hardlink('t', 's/f', at(1)),
  ),
  one(
    'whose targets end in no name',
    file('f', 'x', at(1)),
    file('far/f', 'y', at(1)),
    { ...symlink('s', 'f'), mtime: 1 },
    { ...symlink('l', 'far/away'), mtime: 1 },
    hardlink('t', 's/', at(1)),
    hardlink('u', 'l/../f', at(1)),
    hardlink('v', 'none/../f', at(1)),
    hardlink('w', 's', at(1)),
  ),
  one('to the root', hardlink('a', '/')),
  one('to a folder’s folder', dir('d/e'), hardlink('a', 'd/e/..')),
  one('in a loop', hardlink('a', 'b'), hardlink('b', 'a')),
  one(
    'absolute, and leading out',
    file('a', 'x', at(1)),
    hardlink('b', '/a', at(1)),
    hardlink('c', '../../a', at(1)),
  ),
  one(
    'whose first name is replaced',
    file('a', 'old', at(1)),
    hardlink('b', 'a', at(1)),
    file('a', 'newer', at(2)),
  ),
  {
    ...one(
      'whose first name goes',
      dir('d', at(1)),
      file('d/a', 'x', at(1)),
      hardlink('b', 'd/a', at(1)),
      file('d', '', at(2)),
    ),
    differs: {
      why: 'containerd gives the times of folders in the end, by path: a folder that is gone gives its own to what has taken its name',
      expected: changing({ d: { mtime: '2000000000' } }),
    },
  },
  one(
    'that say something else of the file',
    file('a', 'x', at(1, { mode: 0o600 })),
    hardlink('b', 'a', at(9, { mode: 0o4755, uid: 3, gid: 4, ...xattr('user.b', 'x') })),
  ),
  one(
    'to a device',
    { path: 'a', type: '3', major: 1, minor: 3, mtime: 1 },
    hardlink('b', 'a', at(1)),
  ),
  one(
    'with a size',
    file('a', 'x', at(1)),
    hardlink('b', 'a', at(1, { size: 1000 })),
    file('c', '', at(1)),
  ),
  stack('to a file of a lower layer', [file('a', 'x', at(1))], [hardlink('b', 'a', at(1))]),
];

const lower = (): TarPiece[] => [
  dir('d', at(1, { mode: 0o711, uid: 4, ...xattr('user.lower', 'x') })),
  file('d/a', '1', at(1)),
  dir('d/sub', at(2, { mode: 0o700, uid: 6 })),
  file('d/sub/b', '2', at(2)),
  file('f', '3', at(3)),
  { ...symlink('l', 'd'), mtime: 4 },
];

const whiteouts: TreeCase[] = [
  {
    ...stack('of files and folders', lower(), [file('.wh.f'), file('d/.wh.sub'), dir('d', at(9))]),
    differs: {
      why: 'containerd makes the folder by need, with all attributes of the one below, and the entry that describes it later takes none away; had it come first, they would be gone',
      expected: changing({ d: { xattrs: {} } }),
    },
  },
  stack('of what is not there', lower(), [file('.wh.none'), file('d/.wh.none')]),
  stack('before what comes again', lower(), [
    file('.wh.d'),
    dir('d', at(9)),
    file('d/new', 'n', at(9)),
  ]),
  {
    ...stack('after what came again', lower(), [
      dir('d', at(9)),
      file('d/new', 'n', at(9)),
      file('.wh.d'),
    ]),
    differs: {
      why: 'containerd refuses a whiteout of what the layer has brought before; the image specification lets whiteouts stand anywhere',
      inOtherWords: [
        layer(...lower()),
        layer(dir('d', at(9)), file('d/.wh..wh..opq'), file('d/new', 'n', at(9))),
      ],
    },
  },
  {
    ...stack('of a file that comes again', lower(), [file('f', 'new', at(9)), file('.wh.f')]),
    differs: {
      why: 'containerd refuses a whiteout of what the layer has brought before; the image specification lets whiteouts stand anywhere',
      inOtherWords: [layer(...lower()), layer(file('f', 'new', at(9)))],
    },
  },
  stack('opaque, first', lower(), [
    dir('d', at(9)),
    file('d/.wh..wh..opq'),
    file('d/new', 'n', at(9)),
  ]),
  stack('opaque, last', lower(), [
    dir('d', at(9)),
    file('d/new', 'n', at(9)),
    file('d/.wh..wh..opq'),
  ]),
  stack('opaque, of a folder that is not listed', lower(), [file('d/.wh..wh..opq')]),
  stack('opaque, of the root', lower(), [file('.wh..wh..opq'), file('new', 'x', at(9))]),
  stack('of a link', lower(), [file('.wh.l')]),
  stack('of a folder, which then is a file', lower(), [file('.wh.d'), file('d', 'x', at(9))]),
  stack(
    'in three layers',
    lower(),
    [file('.wh.d')],
    [dir('d', at(9)), file('d/again', 'x', at(9))],
  ),
  one(
    'that hide nothing, in the only layer',
    file('.wh.a'),
    file('d/.wh.b', '', at(1)),
    file('c', 'x', at(1)),
  ),
  {
    ...one('of what the only layer has brought before', file('a', 'x', at(1)), file('.wh.a')),
    differs: {
      why: 'containerd removes files of the lowest layer itself; the image specification lets whiteouts hide what is in lower layers only',
      expected: (theirs) => ({ ...theirs, a: OWN_FILE }),
    },
  },
  one('.wh.', file('.wh.')),
  one('.wh..', file('.wh..')),
  one('.wh...', file('.wh...')),
  one('.wh. in a folder’s name', file('a/.wh.b/c', 'x', at(1))),
  one('marks of aufs', file('.wh..wh.plnk', 'x'), file('.wh..wh.aufs', 'x'), file('a', 'x', at(1))),
];

const layers: TreeCase[] = [
  stack('parents that a lower layer describes', lower(), [file('d/sub/new', 'x', at(9))]),
  stack('parents that lead through a lower layer’s link', lower(), [file('l/new', 'x', at(9))]),
  stack('a folder over a file, and a file over a folder', lower(), [
    dir('f', at(9)),
    file('f/x', 'x', at(9)),
    file('d', 'x', at(9)),
  ]),
  stack('a folder listed again without attributes', lower(), [dir('d', at(9))]),
  stack('a folder over a lower layer’s link', lower(), [
    dir('l', at(9)),
    file('l/own', 'x', at(9)),
  ]),
  stack('the same layer twice', lower(), lower()),
  stack('an empty layer', lower(), []),
];

const UPWARDS = [
  ['into', 'x/y'],
  ['behind', 'into/../b'],
  ['out', '../../b'],
  ['absolute', '/into/../b'],
  ['missing', 'none/../b'],
  ['through', 'file/../b'],
  ['up', 'into/..'],
  ['d/up', '../into/..'],
  ['d/absolute', '/into/.././b/'],
] as const;
const ROUND = [symlink('a', 'b'), symlink('b', 'a')];
const REFUSED_PARENT =
  'containerd refuses the layer for what a layer below has on the way to a folder that it needs; the merged tree is well defined, and a layer is no other for what it stands on';

/** Folders that a layer needs and does not list, with layers below that say something of them, each in its way. */
const needed: TreeCase[] = [
  stack(
    'in a folder that is opaque in between',
    lower(),
    [dir('d', at(5, { mode: 0o750 })), file('d/.wh..wh..opq')],
    [file('d/sub/new', 'x', at(9))],
  ),
  stack('in one that is opaque itself', lower(), [
    dir('d', at(5)),
    file('d/.wh..wh..opq'),
    file('d/sub/new', 'x', at(9)),
  ]),
  stack(
    'below an opaque folder that nobody lists',
    lower(),
    [file('d/.wh..wh..opq')],
    [file('d/sub/new', 'x', at(9))],
  ),
  stack(
    'hidden by an opaque folder',
    lower(),
    [file('d/sub/new', 'x', at(9))],
    [dir('d', at(5)), file('d/.wh..wh..opq')],
  ),
  stack(
    'whose name is whited out in between',
    lower(),
    [file('.wh.d')],
    [file('d/new', 'x', at(9))],
  ),
  {
    ...stack(
      'below one whose name is whited out in between',
      lower(),
      [file('.wh.d')],
      [file('d/sub/new', 'x', at(9))],
    ),
    differs: {
      why: REFUSED_PARENT,
      inOtherWords: [
        layer(...lower()),
        layer(file('.wh.d')),
        layer(dir('d'), dir('d/sub'), file('d/sub/new', 'x', at(9))),
      ],
    },
  },
  stack('over a file', lower(), [file('f/new', 'x', at(9))]),
  {
    ...stack('below one over a file', lower(), [file('f/deep/new', 'x', at(9))]),
    differs: {
      why: REFUSED_PARENT,
      inOtherWords: [
        layer(...lower()),
        layer(dir('f'), dir('f/deep'), file('f/deep/new', 'x', at(9))),
      ],
    },
  },
  stack(
    'where a link leads to one that is needed itself',
    lower(),
    [file('d/sub/new', 'x', at(9)), { ...symlink('m', 'd/sub'), mtime: 4 }],
    [file('m/own', 'x', at(9))],
  ),
  stack(
    'where links lead up again',
    [
      dir('x/y', at(1, { mode: 0o710 })),
      dir('x/b', at(2, { mode: 0o720 })),
      dir('b', at(3, { mode: 0o730 })),
      dir('d', at(3, { mode: 0o740 })),
      file('file'),
      ...UPWARDS.map(([path, target]): TarPiece => ({ ...symlink(path, target), mtime: 4 })),
    ],
    UPWARDS.map(([path]) => file(`${path}/b/new`, 'x', at(9))),
  ),
  stack(
    'where 255 links lead on',
    [...chain(255), dir('l255', at(1, { mode: 0o710 }))],
    [file('l0/new', 'x', at(9))],
  ),
  {
    ...stack('where 256 links lead on', chain(256), [file('l0/new', 'x', at(9))]),
    differs: {
      why: REFUSED_PARENT,
      inOtherWords: [layer(...chain(256)), layer(dir('l0'), file('l0/new', 'x', at(9)))],
    },
  },
  {
    ...stack('where links go round', ROUND, [file('a/new', 'x', at(9))]),
    differs: {
      why: REFUSED_PARENT,
      inOtherWords: [layer(...ROUND), layer(dir('a'), file('a/new', 'x', at(9)))],
    },
  },
  stack(
    'where a link leads to nothing',
    lower(),
    [{ ...symlink('m', 'none'), mtime: 4 }],
    [file('m/new', 'x', at(9))],
  ),
];

export const TREE_CASES: readonly TreeCase[] = [
  ...group('headers', headers),
  ...group('records', records),
  ...group('sparse files', sparseFiles),
  ...group('names', names),
  ...group('what is there twice', duplicates),
  ...group('hard links', links),
  ...group('whiteouts', whiteouts),
  ...group('layers', layers),
  ...group('folders by need over other layers', needed),
];

function group(title: string, cases: readonly TreeCase[]): TreeCase[] {
  return cases.map((one_) => ({ ...one_, name: `${title}: ${one_.name}` }));
}

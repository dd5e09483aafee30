import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { inheritDirectories } from '#src/unpack/unpack-layer.js';
import { readTree } from '../support/tree.js';
import { dir, file, hardlink, paxHeader, symlink, tarOf } from '../index/support/tar-bytes.js';
import {
  listing,
  temporaryFolder,
  unpackBytes,
  unpackPieces,
  unpackingMissing,
} from './support/unpacked.js';

const skip = unpackingMissing() !== undefined;
const CAPABILITY = Buffer.from('0100000200040000000000000000000000000000', 'hex').toString(
  'latin1',
);

function xattr(path: string, name: string): string | undefined {
  try {
    const args = ['--no-dereference', '--absolute-names', '--only-values', '-n', name, path];
    return execFileSync('getfattr', args, {
      encoding: 'latin1',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  } catch {
    return undefined;
  }
}

/** A folder that holds what a layer below left. */
async function withLower(...pieces: Parameters<typeof tarOf>): Promise<string> {
  const { target } = await unpackPieces(pieces, { form: 'merged' });
  return target;
}

describe.skipIf(skip)('unpackLayer: needs root', () => {
  it('gives every type of entry its attributes', async () => {
    const { target } = await unpackPieces([
      dir('d', { mode: 0o2751, uid: 1, gid: 2, mtime: 10 }),
      file('d/setuid', 'abc', { mode: 0o4755, uid: 3, gid: 4, mtime: 11 }),
      file('d/capable', 'x', {
        mode: 0o755,
        mtime: 12,
        uid: 5,
        pax: { 'SCHILY.xattr.security.capability': CAPABILITY, 'SCHILY.xattr.user.note': 'a b' },
      }),
      { path: 'd/link', type: '2', linkPath: 'nowhere', uid: 6, gid: 7, mtime: 13 },
      { path: 'd/null', type: '3', mode: 0o666, major: 1, minor: 3, mtime: 14 },
      { path: 'd/disk', type: '4', mode: 0o660, gid: 8, major: 259, minor: 70_000, mtime: 15 },
      { path: 'd/fifo', type: '6', mode: 0o6622, mtime: 16 },
      file('d/old', '', { mode: 0o1644, pax: { mtime: '-1.5' } }),
    ]);
    const tree = await readTree(target);
    delete tree['.'];
    expect(tree).toMatchObject({
      d: { mode: '42751', owner: '1:2', mtime: '10000000000' },
      'd/setuid': { mode: '104755', owner: '3:4', size: 3, mtime: '11000000000' },
      'd/capable': {
        mode: '100755',
        owner: '5:0',
        xattrs: {
          'security.capability': `0x${Buffer.from(CAPABILITY, 'latin1').toString('hex')}`,
          'user.note': '0x612062',
        },
      },
      'd/link': { mode: '120777', owner: '6:7', mtime: '13000000000', target: 'nowhere' },
      'd/null': { mode: '20666', owner: '0:0', mtime: '14000000000', device: '259' },
      'd/disk': { mode: '60660', owner: '0:8', mtime: '15000000000' },
      'd/fifo': { mode: '16622', mtime: '16000000000' },
      'd/old': { mode: '101644', mtime: '-1500000000', size: 0 },
    });
    // What is made in a set-group-id folder would take its group.
    expect(tree['d/old']?.owner).toBe('0:0');
  });

  it('gives files in a folder with a default ACL the mode of their header', async () => {
    const acl = Buffer.from(
      '0200000001000700ffffffff04000500ffffffff10000700ffffffff20000000ffffffff',
      'hex',
    ).toString('latin1');
    const { target } = await unpackPieces([
      dir('d', { pax: { 'SCHILY.xattr.system.posix_acl_default': acl } }),
      file('d/file', 'x', { mode: 0o666 }),
      dir('d/sub', { mode: 0o777 }),
      file('d/made/by/need', 'x', { mode: 0o606 }),
    ]);
    const mode = (path: string): number => statSync(join(target, path)).mode & 0o7777;
    expect(['d/file', 'd/sub', 'd/made', 'd/made/by/need'].map(mode)).toEqual([
      0o666, 0o777, 0o755, 0o606,
    ]);
  });

  it('keeps names and links that are not UTF-8, and long ones', async () => {
    const name = 'caf\xe9\xff';
    const path = Array.from({ length: 30 }, (_, n) => `folder-number-${n}`).join('/');
    const { target } = await unpackBytes(
      Buffer.concat([
        paxHeader({ path: `${path}/${name}` }),
        tarOf(file('x', 'long'), symlink(name, `\xe9\xfe`)),
      ]),
    );
    const tree = await readTree(target);
    expect(tree[`${path}/${name}`]).toMatchObject({ size: 4 });
    expect(tree[name]).toMatchObject({ target: '\xe9\xfe' });
  });

  it('takes the last of duplicates, and merges folders', async () => {
    const { target } = await unpackPieces([
      dir('d'),
      file('d/inner', '1'),
      file('a', 'first'),
      file('a', 'second'),
      dir('d', { mode: 0o700, mtime: 5 }),
      dir('b'),
      file('b/gone', 'x'),
      symlink('b', 'd'),
      file('c', 'x'),
      dir('c'),
      symlink('s', 'd'),
      dir('s'),
      file('s/own', 'x'),
    ]);
    expect(listing(target)).toEqual([
      'f a',
      'l b -> d',
      'd c',
      'd d',
      'f d/inner',
      'd s',
      'f s/own',
    ]);
    expect(readFileSync(join(target, 'a'), 'utf8')).toBe('second');
    const { mode, mtimeMs } = statSync(join(target, 'd'));
    expect({ mode: mode & 0o7777, mtimeMs }).toEqual({ mode: 0o700, mtimeMs: 5000 });
  });

  it('gives the times of folders that were replaced to nobody', async () => {
    const { target, layer } = await unpackPieces([
      dir('x', { mtime: 5 }),
      dir('x/y', { mtime: 6 }),
      file('x/made/z', ''),
      file('x', '', { mtime: 7 }),
      dir('d', { mtime: 8 }),
      dir('d/e', { mtime: 9 }),
      symlink('d', 'f'),
      dir('f/e', { mtime: 10 }),
    ]);
    const seconds = (path: string): number => statSync(join(target, path)).mtimeMs / 1000;
    expect(['x', 'd', 'f', 'f/e'].map(seconds)).toEqual([7, 0, 0, 10]);
    expect(layer.implicitDirectories).toEqual(['f']);
  });

  it('keeps the time of a folder that a link names in another way', async () => {
    const { target } = await unpackPieces([
      dir('./d', { mtime: 7 }),
      file('./d/a', 'x'),
      hardlink('./d/b', './d/a'),
      hardlink('./d/c', 'd//./a'),
    ]);
    expect(await readTree(target)).toMatchObject({ d: { mtime: '7000000000' } });
  });

  it('describes a hard-linked file anew by the header of the link', async () => {
    const { target } = await unpackPieces([
      file('a', 'x', { mode: 0o644, mtime: 1 }),
      hardlink('b', 'a', { mode: 0o4750, uid: 9, mtime: 2 }),
    ]);
    const { ['a']: a, ['b']: b } = await readTree(target);
    expect(a).toEqual(b);
    expect(a).toMatchObject({ mode: '104750', owner: '9:0', mtime: '2000000000', linkedTo: 'a' });
  });

  it('leaves a hard-linked file as its own header says in merged form, as umoci does', async () => {
    const { target } = await unpackPieces(
      [file('a', 'x', { mode: 0o444, mtime: 1 }), hardlink('b', 'a', { uid: 9, mtime: 2 })],
      { form: 'merged' },
    );
    expect((await readTree(target))['a']).toMatchObject({ mode: '100444', owner: '0:0' });
  });

  it('ignores attributes that are not an archive’s to set, and counts those nobody takes', async () => {
    const { target, layer } = await unpackPieces([
      file('a', 'x', {
        pax: {
          'SCHILY.xattr.trusted.overlay.opaque': 'y',
          'SCHILY.xattr.trusted.x': 'y',
          'SCHILY.xattr.user.overlay.opaque': 'y',
          'SCHILY.xattr.user.kept': 'y',
        },
      }),
    ]);
    expect(xattr(join(target, 'a'), 'trusted.overlay.opaque')).toBeUndefined();
    expect(xattr(join(target, 'a'), 'trusted.x')).toBeUndefined();
    expect(xattr(join(target, 'a'), 'user.kept')).toBe('y');
    expect(layer.ignoredXattrs).toBe(0);
  });

  it('skips global PAX headers and their content', async () => {
    const blob = Buffer.concat([
      paxHeader({ comment: 'x'.repeat(600) }, 'g'),
      tarOf(file('a', 'b')),
    ]);
    const { target } = await unpackBytes(blob);
    expect(listing(target)).toEqual(['f a']);
    expect(readFileSync(join(target, 'a'), 'utf8')).toBe('b');
  });

  it('makes missing parents 0755 of the epoch and names them', async () => {
    const { target, layer } = await unpackPieces([file('a/b/c', 'x'), dir('a'), file('e/f', 'x')]);
    const { mode, mtimeMs } = statSync(join(target, 'a/b'));
    expect({ mode: mode & 0o7777, mtimeMs }).toEqual({ mode: 0o755, mtimeMs: 0 });
    expect(layer.implicitDirectories).toEqual(['a/b', 'e']);
  });

  describe('overlay form', () => {
    it('marks whiteouts and opaque folders', async () => {
      const { target } = await unpackPieces([
        dir('d'),
        file('d/.wh.gone', '', { uid: 5, mode: 0o600, mtime: 3 }),
        dir('opaque'),
        file('opaque/first', 'x'),
        file('opaque/.wh..wh..opq'),
        file('a/b/.wh.far'),
      ]);
      expect(listing(target)).toEqual([
        'd a',
        'd a/b',
        'c a/b/far 0:0',
        'd d',
        'c d/gone 0:0',
        'd opaque',
        'f opaque/first',
      ]);
      expect(xattr(join(target, 'opaque'), 'trusted.overlay.opaque')).toBe('y');
      expect(xattr(join(target, 'd'), 'trusted.overlay.opaque')).toBeUndefined();
    });

    it('keeps what the layer itself has under a whiteout’s name', async () => {
      const { target } = await unpackPieces([
        file('file', 'x'),
        file('.wh.file'),
        dir('folder'),
        file('folder/x', 'x'),
        file('.wh.folder'),
        file('.wh.later'),
        file('later', 'x'),
      ]);
      expect(listing(target)).toEqual(['f file', 'd folder', 'f folder/x', 'f later']);
      expect(xattr(join(target, 'folder'), 'trusted.overlay.opaque')).toBe('y');
    });

    it('leaves the root as it is unless told otherwise', async () => {
      const root = { mode: 0o700, uid: 4, gid: 5, mtime: 9 };
      const target = temporaryFolder();
      chmodSync(target, 0o711);
      utimesSync(target, 1, 1);
      await unpackPieces([dir('./', root), file('a', 'x')], { target });
      const left = statSync(target);
      expect([left.mode & 0o7777, left.uid, left.mtimeMs]).toEqual([0o711, 0, 1000]);
      await unpackPieces([dir('./', root), file('a', 'x')], { target, rootEntry: true });
      const described = statSync(target);
      expect([described.mode & 0o7777, described.uid, described.mtimeMs]).toEqual([0o700, 4, 9000]);
    });

    it('gives folders that the layer does not list what the layers below say', async () => {
      const note = { 'SCHILY.xattr.user.note': 'n' };
      const lowest = await withLower(
        dir('a', { mode: 0o700 }),
        dir('b', { mode: 0o711, mtime: 7 }),
      );
      const middle = (
        await unpackPieces([
          dir('a', { mode: 0o750, uid: 3, gid: 4, mtime: 8, pax: note }),
          file('.wh.c'),
        ])
      ).target;
      const { target, layer } = await unpackPieces(
        [file('a/x', ''), file('b/x', ''), file('c/x', ''), file('new/x', '')],
        { parents: [middle, lowest] },
      );
      expect(await readTree(target)).toMatchObject({
        a: { mode: '40750', owner: '3:4', mtime: '8000000000', xattrs: { 'user.note': '0x6e' } },
        b: { mode: '40711', owner: '0:0', mtime: '7000000000' },
        c: { mode: '40755' },
        new: { mode: '40755' },
      });
      expect(layer.implicitDirectories).toEqual(['c', 'new']);
    });
  });

  it('inherits folders later, where the layers below were not ready', async () => {
    const upper = await unpackPieces([file('a/b/x', ''), file('link/x', '')]);
    const parents = [
      await withLower(dir('a/b', { mode: 0o701, uid: 2, mtime: 4 }), symlink('link', '/a/b')),
      await withLower(dir('a', { mode: 0o777 })),
    ];
    const { implicitDirectories: directories } = upper.layer;
    const left = inheritDirectories({ target: upper.target, directories, parents });
    expect(left).toEqual([]);
    expect(await readTree(upper.target)).toMatchObject({
      a: { mode: '40755' },
      'a/b': { mode: '40701', owner: '2:0', mtime: '4000000000' },
      // As containerd has it: the lower link is followed, inside its root.
      link: { mode: '40701' },
    });
  });

  describe('merged form', () => {
    it('removes what whiteouts name, with all below', async () => {
      const target = await withLower(
        dir('d'),
        file('d/a', '1'),
        file('d/sub/b', '2'),
        file('f', '3'),
      );
      await unpackPieces([file('.wh.d'), file('.wh.f'), file('.wh.absent')], {
        target,
        form: 'merged',
      });
      expect(listing(target)).toEqual([]);
    });

    it('empties opaque folders of what lower layers had, wherever the mark stands', async () => {
      const target = await withLower(
        dir('d'),
        file('d/old', '1'),
        file('d/sub/old', '2'),
        file('d/both/old', '3'),
        file('d/both/same', '4'),
      );
      await unpackPieces(
        [
          file('d/new', 'n'),
          file('d/both/same', 'n'),
          file('d/.wh..wh..opq'),
          file('d/later', 'n'),
        ],
        { target, form: 'merged' },
      );
      expect(listing(target)).toEqual(['d d', 'd d/both', 'f d/both/same', 'f d/later', 'f d/new']);
    });

    it('keeps what the layer itself has under a whiteout’s name', async () => {
      const target = await withLower(file('d/old', '1'));
      await unpackPieces([file('d/new', 'x'), file('.wh.d'), file('f', 'x'), file('.wh.f')], {
        target,
        form: 'merged',
      });
      expect(listing(target)).toEqual(['d d', 'f d/new', 'f f']);
    });

    it('replaces files of layers below instead of writing into them', async () => {
      const target = await withLower(file('a', 'old'), hardlink('b', 'a'));
      await unpackPieces([file('a', 'new')], { target, form: 'merged' });
      expect(readFileSync(join(target, 'b'), 'utf8')).toBe('old');
    });

    it('keeps the time of folders that the layer changes and does not list', async () => {
      const target = await withLower(
        dir('./', { mtime: 3 }),
        dir('d', { mtime: 4 }),
        dir('d/e', { mtime: 5 }),
        file('d/e/old', ''),
      );
      await unpackPieces([file('d/e/new', ''), file('d/e/.wh.old')], { target, form: 'merged' });
      const seconds = ['', 'd', 'd/e'].map((path) => statSync(join(target, path)).mtimeMs / 1000);
      expect(seconds).toEqual([3, 4, 5]);
    });

    it('takes the attributes of a layer below from a folder that the layer lists', async () => {
      const pax = { 'SCHILY.xattr.user.below': 'x' };
      const target = await withLower(dir('d', { mode: 0o700, pax }), dir('kept', { pax }));
      await unpackPieces([dir('d', { mode: 0o755 }), file('kept/a', '')], {
        target,
        form: 'merged',
      });
      expect(xattr(join(target, 'd'), 'user.below')).toBeUndefined();
      expect(xattr(join(target, 'kept'), 'user.below')).toBe('x');
    });

    it('follows symlinks of layers below inside the root', async () => {
      const target = await withLower(dir('usr/bin'), symlink('bin', 'usr/bin'));
      await unpackPieces([file('bin/tool', 'x'), dir('bin'), file('bin/own', 'x')], {
        target,
        form: 'merged',
      });
      expect(listing(target)).toEqual([
        'd bin',
        'f bin/own',
        'd usr',
        'd usr/bin',
        'f usr/bin/tool',
      ]);
    });

    it('applies to a folder that is there already', async () => {
      const target = temporaryFolder();
      mkdirSync(join(target, 'd'));
      writeFileSync(join(target, 'd/f'), 'theirs');
      await unpackPieces([file('d/g', 'ours')], { target, form: 'merged' });
      expect(listing(target)).toEqual(['d d', 'f d/f', 'f d/g']);
    });
  });
});

import { lstat, readFile, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import {
  buildLayout,
  device,
  dir,
  fifo,
  file,
  fileWithXattrs,
  hardlink,
  opaque,
  symlink,
  tarOf,
  whiteout,
} from './images.js';
import { temporaryFolder } from './temporary-folder.js';
import { tool } from './tools.js';
import { readTree } from './tree.js';

const isRoot = process.getuid?.() === 0;

test('tarOf gives the same bytes for the same entries', async () => {
  const entries = [dir('d'), fileWithXattrs('d/f', 'x', { 'user.a': Buffer.from([0, 255, 10]) })];
  expect((await tarOf(entries)).equals(await tarOf(entries))).toBe(true);
});

test.skipIf(!isRoot)('buildLayout makes what umoci unpacks (needs root)', async () => {
  await using folder = await temporaryFolder();
  const layout = join(folder.path, 'layout');
  const long = `${'long/'.repeat(30)}name-${'x'.repeat(120)}`;
  await buildLayout(layout, {
    tag: 'all',
    layers: [
      [
        dir('gone'),
        file('gone/f'),
        dir('d'),
        file('d/old'),
        file('keep', 'kept', { mode: 0o4755 }),
      ],
      [
        whiteout('gone'),
        opaque('d'),
        file('d/new', 'n', { uid: 3_000_000, gid: 7, mtime: 1.5 }),
        hardlink('d/again', 'd/new'),
        symlink('link', `target-${'y'.repeat(120)}`),
        device('null', { major: 1, minor: 3 }),
        fifo('pipe'),
        fileWithXattrs('x', '', { 'user.raw': Buffer.from([0, 255, 10]) }),
        file(long, 'deep'),
        file('größe', 'utf-8'),
      ],
    ],
  });
  const bundle = join(folder.path, 'bundle');
  await tool('umoci', 'unpack', '--image', `${layout}:all`, bundle);
  const at = (path: string): string => join(bundle, 'rootfs', path);
  await expect(stat(at('gone'))).rejects.toMatchObject({ code: 'ENOENT' });
  await expect(stat(at('d/old'))).rejects.toMatchObject({ code: 'ENOENT' });
  expect(await lstat(at('d/new'))).toMatchObject({
    uid: 3_000_000,
    gid: 7,
    nlink: 2,
    mtimeMs: 1500,
  });
  expect((await lstat(at('keep'))).mode & 0o7777).toBe(0o4755);
  expect(await readlink(at('link'))).toBe(`target-${'y'.repeat(120)}`);
  expect((await lstat(at('null'))).rdev).toBe(0x103);
  expect((await lstat(at('pipe'))).isFIFO()).toBe(true);
  expect(await readFile(at(long), 'utf8')).toBe('deep');
  expect(await readFile(at('größe'), 'utf8')).toBe('utf-8');
  const tree = await readTree(join(bundle, 'rootfs'));
  expect(tree['x']?.xattrs).toEqual({ 'user.raw': '0x00ff0a' });
});

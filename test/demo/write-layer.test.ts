import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { extract } from 'tar-stream';
import { describe, expect, it } from 'vitest';
import { digestHex, digestOf } from '#src/common/digest.js';
import {
  directory,
  type Entry,
  file,
  hardLink,
  noise,
  opaque,
  symlink,
  whiteout,
  withParents,
} from '../../demo/image/entry.js';
import { writeLayer } from '../../demo/image/write-layer.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const CAPABILITY = '\x01\0\0\x02\0\x04\0\0';

const ENTRIES: Entry[] = [
  directory('etc', { mode: 0o750, uid: 7, gid: 8 }),
  file('etc/motd', 'hello\n', {
    xattrs: { 'user.note': 'täglich', 'security.capability': CAPABILITY },
  }),
  file('etc/empty', ''),
  file('bin/as-root', noise('seed', 100_000), { mode: 0o4755 }),
  symlink('etc/link', '../bin/as-root'),
  hardLink('etc/motd-2', 'etc/motd'),
  whiteout('etc/old'),
  opaque('srv'),
  { kind: 'character-device', path: 'dev/null', major: 1, minor: 3, attributes: {} },
  { kind: 'fifo', path: 'run/queue', attributes: {} },
];

describe('writeLayer', () => {
  it('names the blob by its digest and knows the digest of the tar in it', async () => {
    await using folder = await temporaryFolder();
    const layer = await writeLayer(folder.path, ENTRIES);
    const blob = await readFile(join(folder.path, digestHex(layer.digest)));
    const tar = gunzipSync(blob);
    expect(digestOf(blob)).toBe(layer.digest);
    expect(digestOf(tar)).toBe(layer.diffId);
    expect([blob.length, tar.length]).toEqual([layer.size, layer.tarSize]);
  });

  it('gives equal layers for equal entries', async () => {
    await using folder = await temporaryFolder();
    const [first, second] = [
      await writeLayer(folder.path, ENTRIES),
      await writeLayer(folder.path, ENTRIES),
    ];
    expect(second).toEqual(first);
  });

  it('writes what each entry says', async () => {
    await using folder = await temporaryFolder();
    const layer = await writeLayer(folder.path, ENTRIES, { compression: 'none' });
    expect(await headers(join(folder.path, digestHex(layer.digest)))).toEqual([
      expect.objectContaining({ name: 'etc', type: 'directory', mode: 0o750, uid: 7, gid: 8 }),
      expect.objectContaining({
        name: 'etc/motd',
        size: 6,
        pax: {
          path: 'etc/motd',
          'SCHILY.xattr.user.note': 'täglich',
          'SCHILY.xattr.security.capability': CAPABILITY,
        },
      }),
      expect.objectContaining({ name: 'etc/empty', type: 'file', size: 0 }),
      expect.objectContaining({ name: 'bin/as-root', size: 100_000, mode: 0o4755 }),
      expect.objectContaining({ name: 'etc/link', type: 'symlink', linkname: '../bin/as-root' }),
      expect.objectContaining({ name: 'etc/motd-2', type: 'link', linkname: 'etc/motd' }),
      expect.objectContaining({ name: 'etc/.wh.old', type: 'file', size: 0 }),
      expect.objectContaining({ name: 'srv/.wh..wh..opq', type: 'file', size: 0 }),
      expect.objectContaining({
        name: 'dev/null',
        type: 'character-device',
        devmajor: 1,
        devminor: 3,
      }),
      expect.objectContaining({ name: 'run/queue', type: 'fifo' }),
    ]);
  });

  it('leaves no file behind when it is aborted or an entry cannot be read', async () => {
    await using folder = await temporaryFolder();
    const signal = AbortSignal.abort();
    await expect(writeLayer(folder.path, ENTRIES, { signal })).rejects.toThrow();
    const broken = { size: 3, read: () => [Buffer.from('four')] };
    await expect(writeLayer(folder.path, [file('broken', broken)])).rejects.toThrow();
    expect(await readdir(folder.path)).toEqual([]);
  });
});

describe('withParents', () => {
  it('puts each missing folder before its first child, once', () => {
    const entries = withParents([
      file('a/b/c', ''),
      directory('d'),
      file('d/e', ''),
      file('a/f', ''),
    ]);
    expect(entries.map((entry) => entry.path)).toEqual(['a', 'a/b', 'a/b/c', 'd', 'd/e', 'a/f']);
  });
});

async function headers(path: string): Promise<unknown[]> {
  const result: unknown[] = [];
  const tar = extract();
  tar.end(await readFile(path));
  for await (const entry of tar) {
    result.push(entry.header);
    entry.resume();
  }
  return result;
}

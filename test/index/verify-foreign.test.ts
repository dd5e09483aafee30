/** Indexes made of tables of contents, against the layers that these came with. */

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { Sqlite } from '#src/common/sqlite.js';
import { type DiffId, digestOf } from '#src/common/digest.js';
import { findToc } from '#src/index/toc/find-toc.js';
import type { PackedToc } from '#src/index/toc/packed-toc.js';
import { readSociToc } from '#src/index/toc/soci-toc.js';
import { buildTocIndex } from '#src/index/toc/toc-index.js';
import { verifyIndex } from '#src/index/verify-index.js';
import {
  dir,
  file,
  fileWithXattrs,
  hardlink,
  noise,
  symlink,
  tarOf,
  whiteout,
} from '../support/images.js';
import { memorySource, piecesOf, temporaryFolder } from './support/layers.js';
import { stargzOf } from './toc/support/stargz-bytes.js';
import { ztocBytes, ztocPartsOf } from './toc/support/ztoc-bytes.js';

const never = new AbortController().signal;
const entries = [
  file('.prefetch.landmark', '\x0f'),
  dir('d/', { mtime: 1_600_000_000.75 }),
  file('d/a', noise(90_000, 'a')),
  file('d/b', noise(90_000, 'b')),
  fileWithXattrs('x', 'small', { 'user.key': 'value' }),
  hardlink('y', 'x'),
  symlink('link', 'd/a'),
  whiteout('gone'),
];

type Made = { blob: Buffer; path: string };

async function made(blob: Buffer, toc: PackedToc | undefined): Promise<Made> {
  if (toc === undefined) throw new Error('no table of contents found');
  const path = join(temporaryFolder(), 'index');
  const diffId = digestOf(gunzipSync(blob)) as DiffId;
  await buildTocIndex({
    path,
    toc,
    layer: { blobDigest: digestOf(blob), blobSize: blob.length, diffId },
  });
  return { blob, path };
}

const FORMATS: [string, () => Promise<Made>][] = [
  [
    'eStargz',
    async () => {
      const { blob, digest } = await stargzOf(entries, { chunkSize: 40_000 });
      const annotations = { 'containerd.io/snapshot/stargz/toc.digest': digest };
      return made(blob, await findToc({ source: memorySource(blob), annotations }, never));
    },
  ],
  [
    'a zTOC',
    async () => {
      const blob = gzipSync(await tarOf(entries.slice(1)));
      const bytes = ztocBytes(ztocPartsOf(blob, 64 << 10));
      return made(blob, await readSociToc(bytes, memorySource(blob), never));
    },
  ],
];

describe.each(FORMATS)('an index of %s', (_, make) => {
  test('is taken where it shows what the layer holds', async () => {
    const { blob, path } = await make();
    const folder = temporaryFolder();
    await verifyIndex(path, piecesOf(blob), { folder });
    expect(readdirSync(folder)).toEqual([]);
  });

  test.each([
    [
      'mode of "d/a"',
      "UPDATE inode SET mode = mode | 2048 WHERE ino = (SELECT ino FROM entry WHERE name = x'61')",
    ],
    ['presence of "d/b"', "DELETE FROM entry WHERE name = x'62'"],
    ['presence of "d/c"', "UPDATE entry SET name = x'63' WHERE name = x'62'"],
    ['target of "link"', "UPDATE inode SET target = x'61' WHERE target IS NOT NULL"],
    ['xattrs of "x"', "UPDATE xattr SET value = x'00' WHERE name = x'757365722e6b6579'"],
    [
      'mtime of "d"',
      'UPDATE inode SET mtime = mtime + 2 WHERE mtime = 1600000000 OR mtime = 1600000001',
    ],
    [
      'content of "d/a"',
      "UPDATE inode SET data_offset = data_offset + 512 WHERE ino = (SELECT ino FROM entry WHERE name = x'61')",
    ],
  ])('is not where the %s is another', async (what, statement) => {
    const { blob, path } = await make();
    const database = new Sqlite(path);
    database.exec(statement);
    database.close();
    const named = what.replace('d/c', 'd/b');
    await expect(verifyIndex(path, piecesOf(blob))).rejects.toMatchObject({
      code: 'corrupt',
      message: expect.stringContaining(named) as string,
    });
  });

  test('is not where a span’s digest is another', async () => {
    const { blob, path } = await make();
    const database = new Sqlite(path);
    database.exec('UPDATE span SET digest = zeroblob(32) WHERE number = 1');
    database.close();
    await expect(verifyIndex(path, piecesOf(blob))).rejects.toMatchObject({
      code: 'corrupt',
      message: expect.stringContaining('span 1') as string,
    });
  });
});

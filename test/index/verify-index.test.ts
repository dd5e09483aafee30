import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { Sqlite } from '#src/common/sqlite.js';
import { expect, test } from 'vitest';
import { buildIndex } from '#src/index/build-index.js';
import { verifyIndex } from '#src/index/verify-index.js';
import { piecesOf, temporaryFolder } from './support/layers.js';
import { dir, file, tarOf } from './support/tar-bytes.js';

const content = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7919) >> (i % 11)));
const blob = gzipSync(
  tarOf(dir('d'), file('d/a', content, { pax: { 'SCHILY.xattr.user.x': 'y' } })),
);

test('an index that its blob gives is taken', async () => {
  const output = join(temporaryFolder(), 'index');
  const info = await buildIndex(piecesOf(blob), { output, spanSize: 64 << 10 });
  await expect(verifyIndex(output, piecesOf(blob))).resolves.toEqual(info);
});

test.each<[string, string]>([
  ['inode', 'UPDATE inode SET mode = mode | 2048 WHERE ino = 3'],
  ['entry', "UPDATE entry SET name = x'62' WHERE ino = 3"],
  ['xattr', "UPDATE xattr SET value = x'00'"],
  ['span', 'UPDATE span SET digest = zeroblob(32) WHERE number = 1'],
  ['window', 'DELETE FROM window WHERE span = 1'],
])('one whose %s table was changed is not', async (table, statement) => {
  const output = join(temporaryFolder(), 'index');
  await buildIndex(piecesOf(blob), { output, spanSize: 64 << 10 });
  const database = new Sqlite(output);
  database.exec(statement);
  database.close();
  await expect(verifyIndex(output, piecesOf(blob))).rejects.toMatchObject({
    code: 'corrupt',
    message: expect.stringContaining(`its ${table} table`) as string,
  });
});

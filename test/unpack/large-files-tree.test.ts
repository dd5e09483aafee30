import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { errorCode } from '#src/common/errors.js';
import { buildIndex } from '#src/index/build-index.js';
import { LayerIndex, rootIno } from '#src/index/layer-index.js';
import { writeLargeFilesAside } from '#src/unpack/large-files-thread.js';
import { sparseFile } from '../index/support/sparse-bytes.js';
import { dir, file, hardlink, pieceBytes } from '../index/support/tar-bytes.js';
import { readTree } from '../support/tree.js';
import { temporaryFolder, unpackBytes, unpackingMissing } from './support/unpacked.js';

const missing = unpackingMissing();
const KIB = 1 << 10;
const LEAST = 100 * KIB;

const tar = Buffer.concat([
  ...[
    dir('.', { mode: 0o711, mtime: 3 }),
    dir('set', { mode: 0o2751, uid: 7, gid: 8, mtime: 5, pax: { 'SCHILY.xattr.user.of': 'dir' } }),
    file('set/small', 'small'),
    file('set/large', randomBytes(300 * KIB), {
      mode: 0o4755,
      uid: 9,
      gid: 10,
      pax: { mtime: '-3.000000007', 'SCHILY.xattr.user.mark': 'yes' },
    }),
    file('unread', randomBytes(300 * KIB)),
    file('implied/in/\xe9', randomBytes(200 * KIB)),
    dir('links', { mtime: 6 }),
    hardlink('links/other', 'implied/in/\xe9'),
    dir('set/opaque', { mtime: 7 }),
    file('set/opaque/.wh..wh..opq'),
    file('set/.wh.gone'),
  ].map(pieceBytes),
  sparseFile('1.0', {
    path: 'set/opaque/sparse',
    size: 8_000_000,
    pieces: [
      { offset: 4096, data: randomBytes(4096) },
      { offset: 7_000_000, data: randomBytes(150 * KIB) },
    ],
  }),
  Buffer.alloc(1024),
]);
const KEPT = ['set/large', 'implied/in/\xe9', 'links/other', 'set/opaque/sparse'];
const LEADING = ['.', 'set', 'set/opaque', 'implied', 'implied/in', 'links'];

/** What it takes to write those of `blob` of which the files at `read` were read. */
async function jobFor(blob: Buffer, read: readonly string[] = KEPT, room = Infinity) {
  const folder = temporaryFolder();
  const [indexPath, path] = [join(folder, 'index.db'), join(folder, 'blob')];
  writeFileSync(path, Buffer.concat([Buffer.from('before'), blob]));
  await buildIndex(Readable.from([blob]), { output: indexPath, spanSize: 64 * KIB });
  using index = LayerIndex.open(indexPath);
  const presence = new SharedArrayBuffer(index.info.spanCount);
  for (const one of read) {
    let found = index.inode(rootIno);
    for (const name of one.split('/'))
      found = found && index.lookup(found.ino, Buffer.from(name, 'latin1'));
    // In the middle of it, where no other file is.
    const half = Math.floor((found?.size ?? 0) / 2);
    const segments = index.segments(found?.ino ?? 0, half, found?.size ?? 0);
    const data = segments.find((segment) => segment.kind === 'data');
    if (data === undefined) throw new Error(`${one} has no bytes`);
    const span = index.spanAt(data.tarOffset + Math.min(data.length - 1, 70 * KIB));
    new Uint8Array(presence)[span] = 1;
  }
  const source = { path, offset: 6, size: blob.length };
  const target = join(folder, 'tree');
  return { indexPath, blob: source, target, leastSize: LEAST, room, presence };
}

const write = (job: Awaited<ReturnType<typeof jobFor>>) =>
  writeLargeFilesAside(job, new AbortController().signal);
const zstd = (): Buffer => execFileSync('zstd', ['-cq'], { input: tar, maxBuffer: 8 << 20 });

describe.skipIf(missing !== undefined)(`large files as plain files ${missing ?? ''}`, () => {
  it.each([
    ['gzip', () => gzipSync(tar, { level: 1 })],
    ['one zstd frame', zstd],
    ['no', () => tar],
  ])('are what unpacking gives, from a blob of %s compression', async (_, blobOf) => {
    const job = await jobFor(blobOf());
    expect(await write(job)).toEqual({ large: 4, bytes: 300 * KIB + 200 * KIB + 4096 + 150 * KIB });
    const unpacked = await unpackBytes(tar, { rootEntry: true });
    const all = await readTree(unpacked.target);
    expect(all['links/other']).toMatchObject({ linkedTo: 'implied/in/\xe9', size: 200 * KIB });
    const wanted = [...LEADING, ...KEPT].map((path) => [path, all[path]]);
    expect(await readTree(job.target)).toEqual(Object.fromEntries(wanted));
    const sparse = statSync(join(job.target, 'set/opaque/sparse'));
    expect(sparse.blocks * 512).toBeLessThan(400 * KIB);
  });

  it('have no mark of overlay', async () => {
    const job = await jobFor(gzipSync(tar, { level: 1 }));
    await write(job);
    const marks = ['-R', '-m', '^trusted', job.target];
    expect(execFileSync('getfattr', marks, { encoding: 'utf8' })).toBe('');
  });

  it('are only those that were read', async () => {
    const job = await jobFor(gzipSync(tar, { level: 1 }), ['set/large']);
    expect(await write(job)).toEqual({ large: 4, bytes: 300 * KIB });
    expect(Object.keys(await readTree(job.target))).toEqual(['.', 'set', 'set/large']);
    const none = await jobFor(gzipSync(tar, { level: 1 }), []);
    expect(await write(none)).toEqual({ large: 4, bytes: 0 });
  });

  it('are left out where nobody could remove them by their paths', async () => {
    const deep = `${'d'.repeat(200)}/`.repeat(20) + 'e'.repeat(40);
    const other = file('other', randomBytes(LEAST));
    const far = file('far', randomBytes(LEAST), { pax: { path: deep } });
    const blob = Buffer.concat([...[far, other].map(pieceBytes), Buffer.alloc(1024)]);
    const job = await jobFor(blob, [deep, 'other']);
    expect(await write(job)).toEqual({ large: 2, bytes: LEAST });
    expect(Object.keys(await readTree(job.target))).toEqual(['.', 'other']);
  });

  it('are refused where bytes of the blob are wrong', async () => {
    const job = await jobFor(tar);
    const damaged = Buffer.from(tar);
    const at = tar.length - 100 * KIB;
    damaged.writeUInt8(damaged.readUInt8(at) ^ 1, at);
    writeFileSync(job.blob.path, Buffer.concat([Buffer.from('before'), damaged]));
    await expect(write(job)).rejects.toMatchObject({ code: 'corrupt' });
  });

  it('are not written where there is no room, or nobody wants them any more', async () => {
    const blob = gzipSync(tar, { level: 1 });
    const cramped = write(await jobFor(blob, KEPT, 500 * KIB));
    await expect(cramped).rejects.toMatchObject({ code: 'no-space' });
    const aborted = writeLargeFilesAside(await jobFor(blob), AbortSignal.abort());
    await expect(aborted).rejects.toMatchObject({ code: 'cancelled' });
  });

  it('have the attributes of the layer, or are refused', async () => {
    const value = 'v'.repeat(20_000);
    const odd = file('odd', randomBytes(LEAST), { pax: { 'SCHILY.xattr.user.long': value } });
    const job = await jobFor(Buffer.concat([pieceBytes(odd), Buffer.alloc(1024)]), ['odd']);
    const outcome = await write(job).catch(errorCode);
    if (typeof outcome !== 'object') return expect(outcome).toMatch(/^(unsupported|no-space)$/);
    const hex = `0x${Buffer.from(value).toString('hex')}`;
    expect((await readTree(job.target))['odd']?.xattrs).toEqual({ 'user.long': hex });
  });
});

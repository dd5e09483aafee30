import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { Sqlite } from '#src/common/sqlite.js';
import { describe, expect, test } from 'vitest';
import { digestOf } from '#src/common/digest.js';
import { IndexBuilder } from '#src/index/index-builder.js';
import { LayerIndex } from '#src/index/layer-index.js';
import { allEntries, indexOf, temporaryFolder, treeOf } from './support/layers.js';
import { file, pieceBytes, tarOf } from './support/tar-bytes.js';

describe('readdir', () => {
  const names = Array.from({ length: 1000 }, (_, i) => `f${String(i).padStart(4, '0')}`);
  const blob = Buffer.concat([
    ...names.map((name) => pieceBytes(file(`d/${name}`, name))),
    Buffer.alloc(1024),
  ]);

  test('gives the same entries whatever the pages', () => {
    const index = indexOf(blob);
    const ino = index.lookup(1, Buffer.from('d'))?.ino ?? 0;
    for (const limit of [1, 7, 127, 128, 129, 5000]) {
      const entries = allEntries(index, ino, limit);
      expect(entries.map((entry) => entry.name.toString())).toEqual(names);
      expect(entries.map((entry) => entry.position)).toEqual(names.map((_, i) => i + 1));
    }
  });

  test('goes on from any position', () => {
    const index = indexOf(blob);
    const ino = index.lookup(1, Buffer.from('d'))?.ino ?? 0;
    for (const after of [0, 1, 127, 128, 129, 255, 256, 999]) {
      expect(index.readdir(ino, after, 1)[0]).toMatchObject({
        name: Buffer.from(names[after] ?? ''),
        position: after + 1,
      });
    }
    for (const after of [1000, 1001, 1e6]) expect(index.readdir(ino, after, 10)).toEqual([]);
  });

  test('of what is no directory is empty', () => {
    const index = indexOf(tarOf(file('a')));
    expect(index.readdir(index.lookup(1, Buffer.from('a'))?.ino ?? 0, 0, 10)).toEqual([]);
    expect(index.readdir(99, 0, 10)).toEqual([]);
  });
});

test('look-ups of what is not there are undefined', () => {
  const index = indexOf(tarOf(file('a')));
  expect(index.lookup(1, Buffer.from('b'))).toBeUndefined();
  expect(index.lookup(2, Buffer.from('a'))).toBeUndefined();
  expect(index.inode(3)).toBeUndefined();
  expect(index.readlink(2)).toBeUndefined();
  expect(index.xattr(2, Buffer.from('user.a'))).toBeUndefined();
  expect(index.xattrNames(2)).toEqual([]);
  expect(() => index.span(1)).toThrow(RangeError);
  expect(index.window(0)).toBeUndefined();
});

describe('open refuses', () => {
  /** An index file changed by SQL. */
  function changed(...statements: string[]): string {
    const path = fresh();
    const database = new Sqlite(path);
    try {
      for (const statement of statements) database.exec(statement);
    } finally {
      database.close();
    }
    return path;
  }

  function fresh(): string {
    const path = join(temporaryFolder(), 'index');
    const builder = new IndexBuilder({ path, spanSize: 64 << 10 });
    builder.push(tarOf(file('a', Buffer.alloc(200_000))));
    builder.finish();
    return path;
  }

  test.each<[string, string]>([
    ['a view', 'CREATE VIEW v AS SELECT 1'],
    ['a trigger', 'CREATE TRIGGER t AFTER INSERT ON span BEGIN SELECT 1; END'],
    ['another table', 'CREATE TABLE t(a)'],
    ['an index', 'CREATE INDEX i ON entry(ino)'],
    ['a missing table', 'DROP TABLE extent'],
    ['a view instead of a table', 'DROP TABLE implicit; CREATE VIEW implicit AS SELECT 1 AS ino'],
    ['spans outside the blob', 'UPDATE span SET blob_offset = 1000000 WHERE number = 1'],
    ['spans outside the tar', 'UPDATE span SET tar_offset = 1000000 WHERE number = 1'],
    ['spans in disorder', 'UPDATE span SET tar_offset = 0 WHERE number = 1'],
    ['spans that are too long', 'UPDATE span SET blob_length = 1000000'],
    ['a bit offset beyond the byte', 'UPDATE span SET bits = 8'],
    ['a short digest', "UPDATE span SET digest = x'00'"],
    ['missing spans', 'DELETE FROM span WHERE number = 2'],
    ['no spans', 'DELETE FROM span; UPDATE layer SET span_count = 0'],
    ['a negative size', 'UPDATE layer SET tar_size = -1'],
    ['no layer', 'DELETE FROM layer'],
    ['two layers', 'INSERT INTO layer SELECT * FROM layer'],
    ['an unknown compression', "UPDATE layer SET compression = 'rot13'"],
    ['a digest that is none', "UPDATE layer SET blob_digest = 'sha256:0'"],
    ['no root', 'DELETE FROM inode WHERE ino = 1'],
    ['a root that is a file', 'UPDATE inode SET mode = 33188 WHERE ino = 1'],
    ['another application', 'PRAGMA application_id = 1'],
    ['a WAL', 'PRAGMA journal_mode = WAL'],
  ])('%s', (_, statements) => {
    const path = changed(statements);
    expect(() => LayerIndex.open(path)).toThrow(
      expect.objectContaining({
        name: 'SiphonError',
        code: expect.stringMatching(/corrupt|invalid/) as string,
      }) as Error,
    );
  });

  test('another version of the format', () => {
    expect(() => LayerIndex.open(changed('PRAGMA user_version = 99'))).toThrow(
      /its format is 99, expected 5/,
    );
  });

  test('a file that is cut', () => {
    const path = fresh();
    truncateSync(path, 8192);
    expect(() => LayerIndex.open(path)).toThrow(/has 8192 bytes, expected/);
  });

  test('a file that is no database, and one that is not there', () => {
    const path = join(temporaryFolder(), 'index');
    expect(() => LayerIndex.open(path)).toThrow(/Cannot open index/);
    writeFileSync(path, 'hello');
    expect(() => LayerIndex.open(path)).toThrow(/expected a layer index/);
    writeFileSync(path, '');
    expect(() => LayerIndex.open(path)).toThrow(/expected a layer index/);
  });

  test('an index of another layer', () => {
    const path = fresh();
    const other = digestOf('other');
    expect(() => LayerIndex.open(path, { blobDigest: other })).toThrow(`expected ${other}`);
    expect(() => LayerIndex.open(path, { blobSize: 5 })).toThrow(/its size is 201728, expected 5/);
  });

  test('or, in use, contents outside the layer', () => {
    using index = LayerIndex.open(changed('UPDATE inode SET data_offset = 200000 WHERE ino = 2'));
    expect(() => index.segments(2, 0, 10_000)).toThrow(/the content of inode 2 lies at bytes/);
  });

  test.each([
    'mode = -1',
    'uid = 4294967296',
    'size = -1',
    'mtime_nsec = 1000000000',
    'nlink = -1',
    'rdev_major = -1',
  ])('or, in use, an inode with %s', (assignment) => {
    using index = LayerIndex.open(changed(`UPDATE inode SET ${assignment} WHERE ino = 2`));
    expect(() => index.inode(2)).toThrow(/the \w+ of inode 2 is -?\d+, expected/);
    expect(() => index.lookup(1, Buffer.from('a'))).toThrow(
      /the \w+ of inode 2 is -?\d+, expected/,
    );
  });

  /** The only entry of the folder, in hex: a page of one entry `a` that has all parts. */
  const page = (parts: { time?: string; name?: string; size?: string; count?: string } = {}) =>
    [
      `01000000 ${parts.count ?? '01'} 07 ${parts.name ?? '01'} 02000000 01000000`,
      parts.size ?? '00000000',
      'a4810000 01000000 00000000 00000000 00000000 00000000',
      parts.time ?? '0000000000000000 00000000',
      '61',
    ]
      .join('')
      .replaceAll(' ', '');
  const listed = (hex: string) => `UPDATE listing SET entries = x'${hex}'`;

  test.each([
    ['that is empty', listed('')],
    ['of more entries than it has', listed(page({ count: '02' }))],
    ['whose name reaches beyond its end', listed(page({ name: 'ff' }))],
    ['that is cut', listed(page().slice(0, -12))],
    ['with a size that no file has', listed(page({ size: 'ffffffff' }))],
    ['with a time that no file has', listed(page({ time: '00000000ffffff7f00000000' }))],
    ['with a second of more nanoseconds', listed(page({ time: '000000000000000000ca9a3b' }))],
  ])('or, in use, a listing %s', (_, statement) => {
    using index = LayerIndex.open(changed(statement));
    expect(() => index.readdir(1, 0, 10)).toThrow(
      /Cannot read index .*: .*(?:the listing of directory 1|the listings)/,
    );
  });

  test('but not a listing that tells one entry', () => {
    using index = LayerIndex.open(changed(listed(page())));
    expect(index.readdir(1, 0, 10)).toMatchObject([
      { name: Buffer.from('a'), position: 1, inode: { ino: 2, size: 1, mode: 0o100644 } },
    ]);
    expect(index.readdir(1, 1, 10)).toEqual([]);
  });

  test('or, in use, pages that are damaged, with no other error', () => {
    const path = fresh();
    const good = readFileSync(path);
    let refused = 0;
    for (let at = 100; at < good.length; at += 997) {
      const copy = `${path}.${at}`;
      copyFileSync(path, copy);
      const bytes = Buffer.from(good);
      bytes[at] = (bytes[at] ?? 0) ^ 0xff;
      writeFileSync(copy, bytes);
      try {
        using index = LayerIndex.open(copy);
        treeOf(index);
      } catch (error) {
        expect(error).toMatchObject({ name: 'SiphonError' });
        refused += 1;
      }
    }
    expect(refused).toBeGreaterThan(0);
  });
});

describe('a tar made by GNU tar', () => {
  test.each(['posix', 'gnu', 'ustar', 'v7'])(
    'in the %s format reads as the files it was made of',
    (format) => {
      const folder = temporaryFolder();
      const root = join(folder, 'root');
      makeFiles(root, format);
      const tar = execFileSync('tar', [`--format=${format}`, '-C', root, '-cf', '-', '.'], {
        maxBuffer: 64 << 20,
      });
      const tree = treeOf(indexOf(tar, { pieceSize: 777 }));
      const paths = execFileSync('find', ['.', '-printf', '%P\n'], {
        cwd: root,
        encoding: 'latin1',
      })
        .split('\n')
        .slice(0, -1);
      expect([...tree.keys()].toSorted()).toEqual(paths.toSorted());
      for (const path of paths) {
        const stat = lstatSync(Buffer.from(join(root, path), 'latin1'), { bigint: true });
        const found = tree.get(path);
        expect(found).toMatchObject({
          mode: Number(stat.mode),
          uid: Number(stat.uid),
          gid: Number(stat.gid),
          nlink: path === '' ? found?.nlink : Number(stat.nlink),
          mtimeSeconds: Number(stat.mtimeNs / 1_000_000_000n),
        });
        if (format === 'posix')
          expect(found?.mtimeNanoseconds).toBe(Number(stat.mtimeNs % 1_000_000_000n));
        if (stat.isSymbolicLink())
          expect(found?.target).toBe(
            readlinkSync(Buffer.from(join(root, path), 'latin1'), 'latin1'),
          );
        if (stat.isFile()) expect(found?.size).toBe(Number(stat.size));
      }
    },
  );

  function makeFiles(root: string, format: string): void {
    mkdirSync(join(root, 'a/b/c'), { recursive: true });
    writeFileSync(join(root, 'a/file'), 'hello');
    utimesSync(join(root, 'a/file'), 1_600_000_000, 1_600_000_000.125);
    execFileSync('ln', [join(root, 'a/file'), join(root, 'a/b/linked')]);
    symlinkSync('../file', join(root, 'a/b/link'));
    writeFileSync(
      Buffer.concat([Buffer.from(join(root, 'a/')), Buffer.from([0xff, 0xe9, 0x20])]),
      'x',
    );
    if (format !== 'v7') execFileSync('mknod', [join(root, 'fifo'), 'p']);
    execFileSync('chmod', ['4755', join(root, 'a/file')]);
    if (format === 'v7' || format === 'ustar') return;
    mkdirSync(join(root, 'd'.repeat(120), 'e'.repeat(120)), { recursive: true });
    writeFileSync(join(root, 'd'.repeat(120), 'e'.repeat(120), 'f'.repeat(200)), 'deep');
    symlinkSync('t'.repeat(300), join(root, 'long-target'));
  }
});

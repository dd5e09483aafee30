import { mkdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FileBlob } from '#src/common/file-blob.js';
import { collect } from '../support/collect.js';
import { type TemporaryFolder, temporaryFolder } from '../support/temporary-folder.js';

const { signal } = new AbortController();
let folder: TemporaryFolder;
let path: string;
beforeEach(async () => {
  folder = await temporaryFolder();
  path = join(folder.path, 'file');
  await writeFile(path, '0123456789');
});
afterEach(() => folder[Symbol.asyncDispose]());

describe('FileBlob', () => {
  test.each([
    [{}, '0123456789'],
    [{ offset: 3 }, '3456789'],
    [{ offset: 3, size: 4 }, '3456'],
    [{ offset: 10 }, ''],
  ])('is the slice %j of the file', async (slice, expected) => {
    const blob = await FileBlob.open(path, slice);
    try {
      expect(blob).toMatchObject({ name: path, size: expected.length, local: true });
      expect((await blob.read(0, blob.size, signal)).toString()).toBe(expected);
      expect((await collect(blob.stream(signal))).toString()).toBe(expected);
      await expect(blob.read(1, blob.size, signal)).rejects.toMatchObject({ code: 'internal' });
    } finally {
      await blob.close();
    }
  });

  test('says so where the file ends before the slice', async () => {
    await expect(FileBlob.open(path, { offset: 8, size: 4 })).rejects.toMatchObject({
      code: 'corrupt',
      message: `Cannot read file "${path}": it has 10 bytes, expected at least 12`,
    });
    await expect(FileBlob.open(path, { offset: 11 })).rejects.toMatchObject({ code: 'corrupt' });
  });

  test('says so where the file shrinks while it is open', async () => {
    const blob = await FileBlob.open(path);
    try {
      await truncate(path, 4);
      await expect(blob.read(2, 5, signal)).rejects.toMatchObject({ code: 'corrupt' });
    } finally {
      await blob.close();
    }
  });

  test('says so where there is no file, or none to read', async () => {
    await expect(FileBlob.open(`${path}-none`)).rejects.toMatchObject({ code: 'not-found' });
    await expect(FileBlob.open(`${path}/below`)).rejects.toMatchObject({ code: 'not-found' });
    await mkdir(`${path}-folder`);
    await expect(FileBlob.open(`${path}-folder`)).rejects.toMatchObject({ code: 'invalid' });
  });

  test('does not read for one who gave up', async () => {
    const blob = await FileBlob.open(path);
    try {
      const read = blob.read(0, 1, AbortSignal.abort());
      await expect(read).rejects.toMatchObject({ code: 'cancelled' });
    } finally {
      await blob.close();
    }
  });
});

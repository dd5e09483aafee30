/** Names of 255 bytes and paths of 4,096, which no single system call can name: everything that siphon makes of them. */

import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { file, tarOf } from '../index/support/tar-bytes.js';
import { fuseMissing } from '../support/served-folders.js';
import { type Sandbox, must, openSandbox } from '../support/sandbox.js';

const missing = fuseMissing();
const run = promisify(execFile);

/** Two names of 255 bytes, one of them no UTF-8, so deep that their paths have 4,096 bytes. */
const NAME = 'n'.repeat(255);
const RAW_NAME = '\xe9'.repeat(255);
const FOLDERS = Array.from({ length: 16 }, (_, n) => 'd'.repeat(n === 0 ? 240 : 239));
const PATHS = [NAME, RAW_NAME].map((name) => [...FOLDERS, name].join('/'));
const TOO_LONG = [...FOLDERS, 'x', NAME].join('/');

const layerOf = (...paths: string[]): Buffer =>
  gzipSync(tarOf(...paths.map((path) => file('x', path, { pax: { path } }))));

let sandbox: Sandbox;

/** Contents of all files below a folder, by path; find(1) goes down step by step. */
async function filesBelow(directory: string): Promise<Record<string, string>> {
  const args = [
    '.',
    '-type',
    'f',
    '-printf',
    '%P\\0',
    '-execdir',
    'cat',
    '{}',
    ';',
    '-printf',
    '\\0',
  ];
  const { stdout } = await run('find', args, { cwd: directory, encoding: 'latin1' });
  const parts = stdout.split('\0').slice(0, -1);
  return Object.fromEntries(
    Array.from({ length: parts.length / 2 }, (_, n) => [parts[2 * n], parts[2 * n + 1]]),
  ) as Record<string, string>;
}

describe('the longest names', () => {
  let layer: string;

  beforeAll(async () => {
    sandbox = await openSandbox();
    layer = join(sandbox.directory, 'layer.tar.gz');
    await writeFile(layer, layerOf(...PATHS));
  });

  afterAll(() => sandbox[Symbol.asyncDispose]());

  it('are as long as they may be', () => {
    expect(PATHS.map((path) => path.length)).toEqual([4096, 4096]);
  });

  it.skipIf(missing !== undefined)(`are mounted and read: ${missing ?? ''}`, async () => {
    const directory = await sandbox.folder('mnt');
    expect(await sandbox.siphon('mount', layer, directory)).toMatchObject({ code: 0 });
    try {
      const files = await filesBelow(directory);
      expect(files).toEqual(Object.fromEntries(PATHS.map((path) => [path, path])));
    } finally {
      await must('umount', directory);
    }
  });

  it('are unpacked', async () => {
    const directory = join(sandbox.directory, 'unpacked');
    try {
      expect(await sandbox.siphon('unpack', layer, directory)).toMatchObject({ code: 0 });
      const files = await filesBelow(directory);
      expect(files).toEqual(Object.fromEntries(PATHS.map((path) => [path, path])));
    } finally {
      // Node's own removal names whole paths.
      await must('rm', '-rf', directory);
    }
  });

  it('are refused beyond', async () => {
    const long = join(sandbox.directory, 'long.tar.gz');
    await writeFile(long, layerOf(TOO_LONG));
    const { code, stderr } = await sandbox.siphon('index', 'build', long);
    expect(code).toBe(1);
    expect(stderr).toMatch(/its path has 4098 bytes, expected at most 4096/);
  });
});

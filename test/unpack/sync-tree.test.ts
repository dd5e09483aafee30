import { mkdir, readFile, readdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { syncTree } from '#src/unpack/sync-tree.js';
import { cuttableFileSystem } from '../support/power-cut.js';

const skip = process.getuid?.() !== 0;

/** Names that no text has; in a few files and directories, or more than are synced one by one. */
async function writeTree(folder: string, files: number): Promise<void> {
  const below = Buffer.concat([Buffer.from(`${folder}/below/`), Buffer.from([0xff, 0xe4])]);
  await mkdir(below, { recursive: true });
  await symlink('nowhere', join(folder, 'link'));
  for (let at = 0; at < files; at++)
    await writeFile(Buffer.concat([below, Buffer.from(`/${at}`)]), `file ${at}`);
}

async function readTree(folder: string): Promise<unknown> {
  const below = Buffer.concat([Buffer.from(`${folder}/below/`), Buffer.from([0xff, 0xe4])]);
  const names = await readdir(below);
  const read = async (name: string): Promise<string> =>
    readFile(Buffer.concat([below, Buffer.from(`/${name}`)]), 'utf8');
  return [await readdir(folder), (await Promise.all(names.map(read))).sort()];
}

describe.skipIf(skip)('syncTree: needs root', () => {
  it.each([3, 40])('%i files are there after a power cut', async (files) => {
    await using disk = await cuttableFileSystem();
    await writeTree(join(disk.path, 'lost'), files);
    const tree = join(disk.path, 'parent', 'tree');
    await writeTree(tree, files);
    const whole = await readTree(tree);
    await syncTree(tree);
    const left = await disk.cut();
    expect(await readTree(join(left, 'parent', 'tree'))).toEqual(whole);
  });
});

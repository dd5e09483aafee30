/**
 * Whole folders on disk for good. syncfs(2) does it in one call, but writes out what everybody has written to the file
 * system, which on a busy machine takes seconds; so a few files are synced one by one.
 */

import { opendir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { syncFiles } from '../common/sync-files.js';
import { syncFileSystem } from '../ffi/libc.js';

/** Files and directories that are synced one by one; of more, the file system is. */
const FEW = 16;
/** Names of layers are bytes: one character each. */
const BYTES = 'latin1';

/**
 * Resolves when a power cut takes neither the folder nor anything in it. Nobody may change it meanwhile.
 * @throws the system error of what cannot be read or written
 */
export async function syncTree(folder: string): Promise<void> {
  const paths = await fewIn(folder);
  if (paths === undefined) await syncFileSystem(folder);
  else await syncFiles([...paths, dirname(folder)]);
}

/**
 * The folder and the regular files and directories in it, at any depth; everything else is on disk with the directory
 * that names it. `undefined` where they are more than a few.
 */
async function fewIn(folder: string): Promise<Buffer[] | undefined> {
  const paths = [Buffer.from(folder)];
  const directories = [...paths];
  for (let next = directories.pop(); next !== undefined; next = directories.pop()) {
    for await (const entry of await opendir(next, { encoding: BYTES })) {
      if (!entry.isFile() && !entry.isDirectory()) continue;
      if (paths.length === FEW) return undefined;
      const path = Buffer.concat([next, Buffer.from(`/${entry.name}`, BYTES)]);
      paths.push(path);
      if (entry.isDirectory()) directories.push(path);
    }
  }
  return paths;
}

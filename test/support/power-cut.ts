/** A file system of its own on this disk, and what a power cut at this moment would leave of it. */

import { execFile } from 'node:child_process';
import { copyFile, mkdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { temporaryFolder } from './temporary-folder.js';

const run = promisify(execFile);

const SIZE = 64 << 20;

export interface CuttableFileSystem extends AsyncDisposable {
  /** Where it is mounted. */
  path: string;
  /** Mounts what is on its disk now, without what is only in memory; gone with the file system. @returns where */
  cut(): Promise<string>;
}

/** ext4 as Debian makes it, whose data is on disk 30 seconds after it was written unless somebody asks for it. */
export async function cuttableFileSystem(): Promise<CuttableFileSystem> {
  const folder = await temporaryFolder();
  const mounted: string[] = [];
  const mount = async (disk: string): Promise<string> => {
    const path = `${disk}-mounted`;
    await mkdir(path);
    await run('mount', ['-o', 'loop,commit=300', disk, path]);
    mounted.push(path);
    return path;
  };
  const dispose = async (): Promise<void> => {
    for (const path of mounted.toReversed()) await run('umount', [path]);
    await folder[Symbol.asyncDispose]();
  };
  const disk = join(folder.path, 'disk');
  try {
    await writeFile(disk, '');
    await truncate(disk, SIZE);
    await run('mkfs.ext4', ['-q', '-E', 'lazy_itable_init=0,lazy_journal_init=0', disk]);
    return {
      path: await mount(disk),
      cut: async () => {
        const copy = join(folder.path, `cut-${mounted.length}`);
        await copyFile(disk, copy);
        return mount(copy);
      },
      [Symbol.asyncDispose]: dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

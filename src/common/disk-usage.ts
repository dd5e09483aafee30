/** What a folder takes on disk, as du(1) counts it. */

import { lstat, opendir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Stats } from 'node:fs';
import { systemCode } from './errors.js';

export interface DiskUsage {
  /** Bytes on disk. */
  size: number;
  inodes: number;
}

/** st_blocks counts these, whatever the file system's own block size (stat(2)). */
const BLOCK_SIZE = 512;
/** lstat calls in flight at once: enough to keep Node's thread pool busy. */
const BATCH = 64;

/**
 * Bytes and inodes of `folder` with everything in it; an inode counts once however many names it has.
 * Entries that vanish meanwhile are left out.
 * @throws `signal`'s reason, or the system error of a folder that cannot be read
 */
export async function diskUsage(folder: string, signal?: AbortSignal): Promise<DiskUsage> {
  const count = new Count();
  const folders = [folder];
  count.add(await lstat(folder));
  for (let next = folders.pop(); next !== undefined; next = folders.pop()) {
    for await (const names of batches(next)) {
      signal?.throwIfAborted();
      const stats = await Promise.all(names.map((name) => lstatIfThere(join(next, name))));
      for (const [index, entry] of stats.entries()) {
        if (entry === undefined) continue;
        count.add(entry);
        if (entry.isDirectory()) folders.push(join(next, names[index] ?? ''));
      }
    }
  }
  return count.total;
}

class Count {
  readonly total: DiskUsage = { size: 0, inodes: 0 };
  /** Inodes with several names that have been counted. */
  readonly #linked = new Set<string>();

  add(entry: Stats): void {
    if (entry.nlink > 1 && !entry.isDirectory()) {
      const inode = `${entry.dev}:${entry.ino}`;
      if (this.#linked.has(inode)) return;
      this.#linked.add(inode);
    }
    this.total.size += entry.blocks * BLOCK_SIZE;
    this.total.inodes += 1;
  }
}

async function* batches(folder: string): AsyncIterable<string[]> {
  let names: string[] = [];
  for await (const { name } of await opendir(folder)) {
    names.push(name);
    if (names.length < BATCH) continue;
    yield names;
    names = [];
  }
  if (names.length > 0) yield names;
}

async function lstatIfThere(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

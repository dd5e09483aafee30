/** Files that appear whole or not at all: written beside their name, synced unless nothing is lost with them, renamed. */

import { randomBytes } from 'node:crypto';
import { type FileHandle, open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { processIsAlive } from './process.js';

export interface AtomicWrite {
  /** Permission bits; default: 0600. */
  mode?: number;
  /** Whether a power cut leaves the old file or the new one (the default), or may leave one of other length. */
  durable?: boolean;
}

/**
 * Writes `data` to `path` so that whoever looks finds the old file or the new one.
 * @throws the Node system error of the failing step; the temporary file is removed
 */
export async function writeFileAtomic(
  path: string,
  data: Uint8Array | string,
  { mode = 0o600, durable = true }: AtomicWrite = {},
): Promise<void> {
  const temporary = temporaryName(path);
  try {
    const file = await open(temporary, 'wx', mode);
    try {
      await file.writeFile(data);
      if (durable) await file.sync();
    } finally {
      await file.close();
    }
    await (durable ? renameDurably : rename)(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** Renames and syncs the folder, so that the new name survives a power cut. */
export async function renameDurably(from: string, to: string): Promise<void> {
  await rename(from, to);
  let folder: FileHandle | undefined;
  try {
    folder = await open(dirname(to), 'r');
    await folder.sync();
  } finally {
    await folder?.close();
  }
}

/** A name beside `path` that nothing else uses; it tells whose file it is. */
export function temporaryName(path: string): string {
  return `${path}.${process.pid}-${randomBytes(6).toString('hex')}.tmp`;
}

/** In a {@link temporaryName}, or a name made of one: the id of its process. */
const TEMPORARY = /\.(\d+)-[0-9a-f]{12}\.tmp(?:\.|$)/;

/** Removes what processes that are gone were writing in a folder, which need not be there. */
export function removeAbandoned(folder: string): Promise<void> {
  return removeFrom(folder, (name) => {
    const pid = TEMPORARY.exec(name)?.[1];
    return pid !== undefined && !processIsAlive(Number(pid));
  });
}

/** Removes what was written beside `path`; by nobody who still does, as the caller knows. */
export function removeTemporary(path: string): Promise<void> {
  const prefix = `${basename(path)}.`;
  return removeFrom(dirname(path), (name) => name.startsWith(prefix) && TEMPORARY.test(name));
}

async function removeFrom(folder: string, mayGo: (name: string) => boolean): Promise<void> {
  const names = await readdir(folder).catch(() => []);
  for (const name of names)
    if (mayGo(name)) await rm(join(folder, name), { recursive: true, force: true });
}

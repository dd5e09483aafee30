/** Writes a tar of regular files, which appears under its name when it is whole. */

import { open, rm } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { pack } from 'tar-stream';
import { renameDurably, temporaryName } from '../common/atomic-file.js';

export interface ArchiveMember {
  name: string;
  size: number;
  content: () => Uint8Array | AsyncIterable<Uint8Array>;
}

/** @throws what a member's content throws; the system error; nothing is left then */
export async function writeArchive(
  path: string,
  members: AsyncIterable<ArchiveMember>,
  signal: AbortSignal,
): Promise<void> {
  const temporary = temporaryName(path);
  const file = await open(temporary, 'wx');
  const tar = pack();
  const written = pipeline(tar, file.createWriteStream(), { signal });
  // Seen below; a member's own failure is told first.
  written.catch(() => undefined);
  try {
    for await (const member of members) await add(tar, member, signal);
    tar.finalize();
    await written;
    await sync(temporary);
    await renameDurably(temporary, path);
  } catch (error) {
    tar.destroy();
    await written.catch(() => undefined);
    await rm(temporary, { force: true });
    throw error;
  }
}

/** The same members make the same archive: no times. */
async function add(
  tar: ReturnType<typeof pack>,
  { name, size, content }: ArchiveMember,
  signal: AbortSignal,
): Promise<void> {
  const bytes = content();
  const parts = bytes instanceof Uint8Array ? Readable.from([bytes]) : Readable.from(bytes);
  const entry = tar.entry({ name, size, mode: 0o644, mtime: new Date(0) });
  await pipeline(size === 0 ? Readable.from([]) : parts, entry, { signal });
}

async function sync(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

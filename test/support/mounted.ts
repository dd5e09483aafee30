/** Mounts what a snapshotter answered, as containerd does, for as long as a function runs. */

import { execFile } from 'node:child_process';
import { mkdtemp, rm, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { MNT, umount } from '#src/ffi/libc.js';

export interface Mount {
  type: string;
  source: string;
  options: readonly string[];
}

const run = promisify(execFile);

/** @returns what `use` returns, once everything is unmounted again */
export async function mounted<T>(
  mounts: readonly Mount[],
  use: (root: string) => Promise<T>,
): Promise<T> {
  const root = await mkdtemp(join(tmpdir(), 'siphon-mounted-'));
  let done = 0;
  try {
    for (const mount of mounts) {
      await mountOne(mount, root);
      done += 1;
    }
    return await use(root);
  } finally {
    for (; done > 0; done -= 1) umount(root, MNT.DETACH);
    await rmdir(root).catch(() => rm(root, { recursive: true }));
  }
}

async function mountOne({ type, source, options }: Mount, target: string): Promise<void> {
  const words = type === 'bind' ? [] : ['-t', type];
  const { folder, short } = shorten(options);
  await run('mount', ['--no-canonicalize', ...words, '-o', short.join(','), source, target], {
    cwd: folder,
  });
  // mount(8) does both in two calls of its own where it is told so in one.
  if (type === 'bind' && options.includes('ro'))
    await run('mount', ['-o', 'remount,bind,ro', target]);
}

/** One page holds mount(2)'s options: `lowerdir` becomes relative to a folder that all share. */
function shorten(options: readonly string[]): { folder: string; short: string[] } {
  const lower = options.find((option) => option.startsWith('lowerdir='));
  if (lower === undefined) return { folder: '/', short: [...options] };
  const paths = lower.slice('lowerdir='.length).split(':');
  let folder = dirname(paths[0] ?? '/');
  while (!paths.every((path) => path.startsWith(folder === '/' ? '/' : `${folder}/`)))
    folder = dirname(folder);
  const relative = paths.map((path) => path.slice(folder === '/' ? 1 : folder.length + 1));
  const others = options.filter((option) => option !== lower);
  return { folder, short: [...others, `lowerdir=${relative.join(':')}`] };
}

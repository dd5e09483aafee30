/** An image with a shell and a few programs of this machine, for containers to run. */

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { readFile, rm, stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import { type BuiltImage, buildLayout, dir, file, type TarEntry } from './images.js';
import { makeRootfs } from './rootfs.js';

const run = promisify(execFile);
const programs = ['sh', 'cat', 'id', 'ls', 'env', 'stty', 'sleep', 'readlink', 'head', 'stat'];

export interface ContainerImage extends BuiltImage {
  /** As a siphon source. */
  source: string;
}

/**
 * Its accounts: root, and ann (1000, group 1001, member of audio).
 * @param above layers on top
 */
export async function writeContainerImage(
  directory: string,
  config: Record<string, unknown> = {},
  above: readonly (readonly TarEntry[])[] = [],
): Promise<ContainerImage> {
  const rootfs = join(directory, 'image-rootfs');
  const paths = await Promise.all(programs.map(programPath));
  const names = await makeRootfs(rootfs, paths, {
    '/etc/passwd': 'root:x:0:0::/root:/bin/sh\nann:x:1000:1001::/home/ann:/bin/sh\n',
    '/etc/group': 'root:x:0:\nann:x:1001:\naudio:x:29:ann\nstaff:x:50:\n',
  });
  const entries: TarEntry[] = ['dev', 'proc', 'sys', 'tmp'].map((name) => dir(name));
  for (const name of new Set(names)) {
    const path = join(rootfs, name);
    const { mode } = await stat(path);
    entries.push(file(name, await readFile(path), { mode: mode & 0o777 }));
  }
  await rm(rootfs, { recursive: true, force: true });
  const layout = join(directory, 'container-image');
  const built = await buildLayout(layout, { tag: 'latest', layers: [entries, ...above], config });
  return { ...built, source: `oci:${layout}:latest` };
}

async function programPath(program: string): Promise<string> {
  const { stdout } = await run('which', [program]);
  return stdout.trim();
}

/** What is mounted in this mount namespace (proc(5), /proc/self/mountinfo). */

import { readFile } from 'node:fs/promises';
import { MNT, umount } from '../ffi/libc.js';

export interface MountEntry {
  mountPoint: string;
  type: string;
}

/** All mounts, in the order they were made. */
export async function listMounts(): Promise<MountEntry[]> {
  return parseMountInfo(await readFile('/proc/self/mountinfo', 'latin1'));
}

/** Mount points and types of a mountinfo text; mount points keep their bytes (as UTF-8 text). */
export function parseMountInfo(text: string): MountEntry[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [mount, source] = line.split(' - ');
      return {
        mountPoint: unescapeOctal(mount?.split(' ')[4] ?? ''),
        type: source?.split(' ')[0] ?? '',
      };
    });
}

export async function isMounted(path: string): Promise<boolean> {
  return (await listMounts()).some((entry) => entry.mountPoint === path);
}

/**
 * Detaches whatever an earlier process left mounted on `path`, and ends the connection where that is a
 * FUSE mount: a server that was killed while it looked into its own mount waits for itself otherwise,
 * and keeps its descriptor of the device open for ever.
 */
export async function clearStaleMount(path: string): Promise<void> {
  for (const entry of await listMounts()) {
    if (entry.mountPoint === path) umount(path, MNT.DETACH | MNT.FORCE);
  }
}

function unescapeOctal(text: string): string {
  const bytes = text.replace(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

/** What is mounted in this mount namespace (proc(5), /proc/self/mountinfo). */

import { readFile } from 'node:fs/promises';

export interface MountEntry {
  mountPoint: string;
  type: string;
  /** `MAJOR:MINOR` of what `stat` says of its files. */
  device: string;
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
      const [, , device = '', , mountPoint = ''] = mount?.split(' ') ?? [];
      return {
        mountPoint: unescapeOctal(mountPoint),
        device,
        type: source?.split(' ')[0] ?? '',
      };
    });
}

export async function isMounted(path: string): Promise<boolean> {
  return (await listMounts()).some((entry) => entry.mountPoint === path);
}

function unescapeOctal(text: string): string {
  const bytes = text.replace(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

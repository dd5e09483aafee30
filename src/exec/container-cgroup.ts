/** A container's cgroup, seen from outside: what happened in it, and what is left of it. */

import { createHash } from 'node:crypto';
import { readFile, readdir, rmdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemCode } from '../common/errors.js';
import { signalIfThere } from '../common/process.js';

const MOUNTED = '/sys/fs/cgroup';

/** How long killed processes may take to leave, ms. */
const EMPTY_PATIENCE = 5000;
const EMPTY_INTERVAL = 20;

/**
 * The cgroup of the container `id`, directly below the root of each hierarchy.
 * @param bundle tells it from that of another root's container of the same name
 */
export function cgroupName(id: string, bundle: string): string {
  const place = createHash('sha256').update(resolve(bundle)).digest('hex').slice(0, 8);
  return `siphon-${id}-${place}`;
}

/** A cgroup's folder in cgroup v1's hierarchy of memory. */
export function memoryCgroup(cgroup: string): string {
  return join(MOUNTED, 'memory', cgroup);
}

/**
 * Whether the kernel killed for memory in the cgroup, or below it; it is still to be there.
 * @param mounted where the hierarchies of cgroup v1 are, or the one of v2
 */
export async function ranOutOfMemory(cgroup: string, mounted = MOUNTED): Promise<boolean> {
  // cgroup v2's file and v1's: lines of a name and a number each.
  const files = [
    join(mounted, cgroup, 'memory.events'),
    join(mounted, 'memory', cgroup, 'memory.oom_control'),
  ];
  const texts = await Promise.all(files.map((file) => readFile(file, 'utf8').catch(() => '')));
  return texts.some((text) => /^oom_kill [1-9]/m.test(text));
}

/** Kills whatever still runs in the cgroup and below it, in every hierarchy, and removes it. */
export async function removeCgroups(cgroup: string): Promise<void> {
  const controllers = await readdir(MOUNTED).catch(() => []);
  const folders = ['', ...controllers].map((name) => join(MOUNTED, name, cgroup));
  await Promise.all(folders.map(removeCgroup));
}

async function removeCgroup(folder: string): Promise<void> {
  const below = await readdir(folder, { withFileTypes: true }).catch(() => []);
  for (const entry of below) if (entry.isDirectory()) await removeCgroup(join(folder, entry.name));
  const deadline = Date.now() + EMPTY_PATIENCE;
  while (Date.now() < deadline) {
    for (const pid of await processesIn(folder)) signalIfThere(pid, 'SIGKILL');
    try {
      await rmdir(folder);
      return;
    } catch (error) {
      if (systemCode(error) !== 'EBUSY') return; // not there, mostly
    }
    await sleep(EMPTY_INTERVAL);
  }
}

async function processesIn(folder: string): Promise<number[]> {
  const text = await readFile(join(folder, 'cgroup.procs'), 'utf8').catch(() => '');
  return text.split('\n').filter(Boolean).map(Number);
}

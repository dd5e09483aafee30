/** A container's cgroup, seen from outside: what happened in it, and what is left of it. */

import { readFile, readdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemCode } from '../common/errors.js';

const MOUNTED = '/sys/fs/cgroup';

/** How long killed processes may take to leave, ms. */
const EMPTY_PATIENCE = 5000;
const EMPTY_INTERVAL = 20;

/** Whether the kernel killed for memory there; the cgroup is still to be there. */
export async function ranOutOfMemory(id: string): Promise<boolean> {
  // cgroup v2's file and v1's: lines of a name and a number each.
  const files = [
    join(MOUNTED, cgroupName(id), 'memory.events'),
    join(memoryCgroup(id), 'memory.oom_control'),
  ];
  const texts = await Promise.all(files.map((file) => readFile(file, 'utf8').catch(() => '')));
  return texts.some((text) => /^oom_kill [1-9]/m.test(text));
}

/** Kills whatever still runs in the container's cgroups, and removes them. */
export async function removeCgroups(id: string): Promise<void> {
  const controllers = await readdir(MOUNTED).catch(() => []);
  const folders = ['', ...controllers].map((name) => join(MOUNTED, name, cgroupName(id)));
  await Promise.all(folders.map(removeCgroup));
}

async function removeCgroup(folder: string): Promise<void> {
  const deadline = Date.now() + EMPTY_PATIENCE;
  while (Date.now() < deadline) {
    for (const pid of await processesIn(folder)) kill(pid);
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

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended in between.
  }
}

/** The container's folder in cgroup v1's hierarchy of memory. */
export function memoryCgroup(id: string): string {
  return join(MOUNTED, 'memory', cgroupName(id));
}

/** Of the container, directly below the root of each hierarchy. */
export function cgroupName(id: string): string {
  return `siphon-${id}`;
}

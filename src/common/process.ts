/** Processes by more than their id, which the kernel gives out again. */

import { readFile } from 'node:fs/promises';

export interface ProcessIdentity {
  pid: number;
  /** Clock ticks after boot, as /proc shows it (proc(5), stat field 22). */
  startTime: string;
}

/** Whether a process with this id exists (it may belong to somebody else). */
export function processIsAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/** @throws the system error where there is no such process */
export async function processIdentity(pid: number): Promise<ProcessIdentity> {
  return { pid, startTime: (await readStat(pid)).startTime };
}

/** Whether the very process is still there, zombies not counted. */
export async function isRunning(identity: ProcessIdentity): Promise<boolean> {
  try {
    const { state, startTime } = await readStat(identity.pid);
    return startTime === identity.startTime && !/[ZX]/.test(state);
  } catch {
    return false;
  }
}

async function readStat(pid: number): Promise<{ state: string; startTime: string }> {
  const stat = await readFile(`/proc/${pid}/stat`, 'latin1');
  // The command's name stands in parentheses and may hold anything; field 3 follows the last one.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { state: fields[0] ?? '', startTime: fields[22 - 3] ?? '' };
}

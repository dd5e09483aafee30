/** Processes by more than their id, which the kernel gives out again. */

import { readFile, readdir } from 'node:fs/promises';

export interface ProcessIdentity {
  pid: number;
  /** Clock ticks after boot, as /proc shows it (proc(5), stat field 22). */
  startTime: string;
}

/** In the masks of proc(5), status. */
const SIGKILL_BIT = 1n << 8n;

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

/** Ids of the processes whose arguments are so; one that has ended, but was not waited for, has none. */
export async function findProcesses(
  matches: (args: readonly string[]) => boolean,
): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    pids.map(async (pid) => {
      const text = await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '');
      return matches(text.split('\0')) ? [Number(pid)] : [];
    }),
  );
  return found.flat();
}

/** Sends a signal to a process that may have ended meanwhile. */
export function signalIfThere(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It ended in between.
  }
}

/** Whether the very process is still there; zombies, and what is about to be killed, do not count. */
export async function isRunning(identity: ProcessIdentity): Promise<boolean> {
  try {
    const { state, startTime } = await readStat(identity.pid);
    if (startTime !== identity.startTime || /[ZX]/.test(state)) return false;
    return !(await isBeingKilled(identity.pid));
  } catch {
    return false;
  }
}

/** SIGKILL has come, and will be heeded once a system call ends: which may be never. */
async function isBeingKilled(pid: number): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/status`, 'latin1');
  const pending = [...status.matchAll(/^(?:Sig|Shd)Pnd:\s*([0-9a-f]+)/gm)];
  return pending.some(([, mask]) => (BigInt(`0x${mask ?? '0'}`) & SIGKILL_BIT) !== 0n);
}

async function readStat(pid: number): Promise<{ state: string; startTime: string }> {
  const stat = await readFile(`/proc/${pid}/stat`, 'latin1');
  // The command's name stands in parentheses and may hold anything; field 3 follows the last one.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { state: fields[0] ?? '', startTime: fields[22 - 3] ?? '' };
}

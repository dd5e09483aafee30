/**
 * Processes that belong together however they were started: a cgroup of their own, which what they start is born
 * into, orphans included. Containers are not in it, because their runtime puts them into cgroups of their own.
 * Works with cgroup v1's `cpuacct` and with v2. Needs root.
 */

import { mkdir, readFile, readdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export interface ProcessGroup extends AsyncDisposable {
  /** What to start a program in it with: it goes before the program and its arguments. */
  readonly enter: readonly [string, ...string[]];
  /** Ids of those that run now, below included. */
  members(): Promise<number[]>;
  /** Milliseconds of processor time that members ever took, ended ones included. */
  cpuMs(): Promise<number>;
}

const MOUNTED = '/sys/fs/cgroup';
const V1 = join(MOUNTED, 'cpuacct');
/** How long killed processes may take to leave, ms. */
const LEAVE_PATIENCE = 5000;
let groups = 0;

/** Members are killed when it is closed. */
export async function openProcessGroup(): Promise<ProcessGroup> {
  groups += 1;
  const isV1 = await hasFile(join(V1, 'cpuacct.usage'));
  const folder = join(isV1 ? V1 : MOUNTED, `siphon-bench-${process.pid}-${groups}`);
  await mkdir(folder);
  const enter: [string, ...string[]] = [
    'sh',
    '-ec',
    `echo $$ > "$0"; exec "$@"`,
    join(folder, 'cgroup.procs'),
  ];
  return {
    enter,
    members: () => membersBelow(folder),
    cpuMs: () => (isV1 ? cpuOfV1(folder) : cpuOfV2(folder)),
    [Symbol.asyncDispose]: () => remove(folder),
  };
}

function hasFile(path: string): Promise<boolean> {
  return readFile(path).then(
    () => true,
    () => false,
  );
}

/** Nanoseconds in the file, those of cgroups below included. */
async function cpuOfV1(folder: string): Promise<number> {
  return Number(await readFile(join(folder, 'cpuacct.usage'), 'utf8')) / 1e6;
}

async function cpuOfV2(folder: string): Promise<number> {
  const stat = await readFile(join(folder, 'cpu.stat'), 'utf8');
  return Number(/^usage_usec (\d+)$/m.exec(stat)?.[1]) / 1e3;
}

async function membersBelow(folder: string): Promise<number[]> {
  const text = await readFile(join(folder, 'cgroup.procs'), 'utf8').catch(() => ''); // gone meanwhile
  const own = text.split('\n').filter(Boolean).map(Number);
  const below = await Promise.all((await foldersIn(folder)).map(membersBelow));
  return [...own, ...below.flat()];
}

async function foldersIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(folder, name));
}

/** @throws where members cannot be killed */
async function remove(folder: string): Promise<void> {
  for (const below of await foldersIn(folder)) await remove(below);
  for (const deadline = Date.now() + LEAVE_PATIENCE; ; await sleep(10)) {
    const left = await membersBelow(folder);
    if (left.length === 0) break;
    if (Date.now() > deadline)
      throw new Error(`Cannot remove cgroup "${folder}": ${left.join(', ')} stay in it`);
    for (const pid of left) kill(pid);
  }
  await rmdir(folder);
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended by itself.
  }
}

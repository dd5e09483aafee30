/** Processes that become others, and that do not outlive their parent: execve(2), prctl(2). */

import { koffi } from './koffi.js';
import { constants } from 'node:os';
import { SystemError } from './libc.js';

const process_ = koffi.load(null);
const execve_ = process_.func('int execve(const char *path, const char **argv, const char **envp)');
const fcntl_ = process_.func('int fcntl(int fd, int command, ...)');
const prctl_ = process_.func(
  'int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)',
);

const F_DUPFD = 0;
const F_SETFD = 2;
const FD_CLOEXEC = 1;
/** Scripts of the shell use those below. */
const leastKept = 10;
const PR_SET_PDEATHSIG = 1;

/**
 * Makes this process run another program, under the same process id; returns only by throwing.
 * @param options.keep descriptors that stay open; Node marks all of its own to be closed
 */
export function execute(
  path: string,
  args: readonly string[],
  options: { env: NodeJS.ProcessEnv; keep: readonly number[] },
): never {
  for (const descriptor of options.keep) fcntl_(descriptor, F_SETFD, 'int', 0);
  const env = Object.entries(options.env).map(([name, value]) => `${name}=${value ?? ''}`);
  // Both lists end with a null pointer.
  execve_(path, [path, ...args, null], [...env, null]);
  throw new SystemError('execve', koffi.errno(), path);
}

/** A copy of a descriptor for the programs that this process becomes, and their children. @throws SystemError */
export function keptDescriptor(descriptor: number): number {
  const copy = Number(fcntl_(descriptor, F_DUPFD, 'int', leastKept));
  if (copy < 0) throw new SystemError('fcntl', koffi.errno(), String(descriptor));
  return copy;
}

/** The programs that this process starts do not get the descriptor. */
export function keepFromPrograms(descriptor: number): void {
  fcntl_(descriptor, F_SETFD, 'int', FD_CLOEXEC);
}

/** From now on this process gets SIGKILL when its parent dies. */
export function dieWithParent(): void {
  if (prctl_(PR_SET_PDEATHSIG, constants.signals.SIGKILL, 0, 0, 0) !== 0) {
    throw new SystemError('prctl', koffi.errno(), 'PR_SET_PDEATHSIG');
  }
}

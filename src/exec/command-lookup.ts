/**
 * Finds out before the container starts whether its command can be run, so that the answer is one
 * sentence with a shell's exit code instead of a runtime's complaint.
 */

import { posix } from 'node:path';
import { SiphonError } from '../common/errors.js';
import { CommandError } from './command-error.js';
import { envValue } from './process-env.js';
import { resolveInRootfs } from './rootfs-path.js';
import type { RuntimeSpec } from './runtime-spec.js';

const ANY_EXECUTE = 0o111;

type Runnable = Pick<RuntimeSpec, 'process' | 'mounts'>;

type Finding = 'runnable' | 'not executable' | 'a folder' | 'missing';

/**
 * Looks for the program of `spec` inside `rootfs`. One that would come from a mount is not judged.
 * @throws CommandError 127 where there is none, 126 where it cannot be executed
 */
export async function checkCommand(rootfs: string, spec: Runnable): Promise<void> {
  const { args, env, cwd } = spec.process;
  const [command = ''] = args;
  const searched = !command.includes('/');
  const candidates = searched
    ? pathFolders(env).map((folder) => posix.join(folder, command))
    : [posix.resolve(cwd, command)];
  let finding: Finding = 'missing';
  for (const candidate of candidates) {
    const one = await examine(rootfs, candidate, spec);
    if (one === 'runnable') return;
    if (one === 'not executable' || (one === 'a folder' && !searched)) finding = one;
  }
  if (finding !== 'missing') throw notExecutable(command, finding);
  throw missing(command, searched ? (envValue(env, 'PATH') ?? '') : undefined);
}

/**
 * Looks for the working folder of `spec` inside `rootfs`. One in a mount is not judged.
 * @throws SiphonError `not-found`
 */
export async function checkFolder(rootfs: string, spec: Runnable): Promise<void> {
  const { cwd } = spec.process;
  const { path, stats } = await resolveInRootfs(rootfs, cwd);
  if (isMounted(path, spec) || stats?.isDirectory() === true) return;
  throw new SiphonError(
    'not-found',
    `Cannot run a command in folder "${cwd}": the container has no such folder, expected one that it has`,
  );
}

async function examine(rootfs: string, candidate: string, spec: Runnable): Promise<Finding> {
  const { path, stats } = await resolveInRootfs(rootfs, candidate);
  if (isMounted(path, spec)) return 'runnable';
  if (stats === undefined) return 'missing';
  if (stats.isDirectory()) return 'a folder';
  return stats.isFile() && (stats.mode & ANY_EXECUTE) !== 0 ? 'runnable' : 'not executable';
}

/** Relative folders are left out: the runtimes refuse programs found through them. */
function pathFolders(env: readonly string[]): string[] {
  return (envValue(env, 'PATH') ?? '').split(':').filter((folder) => folder.startsWith('/'));
}

function isMounted(path: string, spec: Runnable): boolean {
  return spec.mounts.some(
    ({ destination }) => path === destination || path.startsWith(`${destination}/`),
  );
}

function missing(command: string, path: string | undefined): CommandError {
  const where = path === undefined ? 'at this path' : `in PATH "${path}"`;
  return new CommandError(
    127,
    `Cannot run "${command}": the image has no such file ${where}, expected a program`,
  );
}

function notExecutable(command: string, finding: Finding): CommandError {
  return new CommandError(
    126,
    `Cannot run "${command}": it is ${finding}, expected an executable file`,
  );
}

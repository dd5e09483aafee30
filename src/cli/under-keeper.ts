/**
 * A command's server that may die (see src/layers/keeper.ts): the command becomes its own keeper, which
 * starts the same command line again as the server. The process id stays, so whoever started the
 * command sees no difference.
 */

import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { errorMessage } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import { type Keeper, currentKeeper } from '../layers/keeper.js';

export const shell = '/bin/sh';
const script = fileURLToPath(new URL('../../bin/siphon-keeper', import.meta.url));

/**
 * The keeper of this process. Where there is none yet, this process becomes one, and the call returns
 * only in the server that it starts; where that is not possible, the server runs without.
 * @param words what else the keeper's servers find in their environment
 */
export async function underKeeper(
  root: string,
  log: Logger,
  words: NodeJS.ProcessEnv,
): Promise<Keeper | undefined> {
  const keeper = await currentKeeper();
  if (keeper !== undefined) return keeper;
  try {
    const { execute } = await import('../ffi/exec.js');
    const channel = process.env['NODE_CHANNEL_FD'];
    execute(shell, [...keeperArguments(root), ...process.argv.slice(1)], {
      env: { ...keeperEnvironment(), ...words },
      keep: [0, 1, 2, ...(channel === undefined ? [] : [Number(channel)])],
    });
  } catch (error) {
    log.warn({ error: errorMessage(error) }, 'no keeper: mounts end when this process does');
  }
  return undefined;
}

/**
 * The server runs for long and keeps little. Left alone, V8 gives each thread up to 48 MiB for what dies
 * young, and lets each heap grow to several times what is in use before it looks; glibc has eight areas for each core to
 * allocate from, and once a large piece was freed takes the next out of such an area too, where it does not go back to
 * the system by itself. Measured in native-notes.md. What V8 collects of itself it collects late; see src/ffi/memory.ts.
 */
const smallHeap = [
  '--max-semi-space-size=1', // MiB
  '--optimize-for-size', // looks again when a heap is a third larger than what was left
  '--initial-old-space-size=4', // MiB at the first look
  '--expose-gc',
];
const tidyMalloc = { MALLOC_ARENA_MAX: '2', MALLOC_MMAP_THRESHOLD_: String(256 << 10) }; // bytes

/** What the shell runs; the arguments of `node` follow. */
export function keeperArguments(root: string): string[] {
  const folder = join(root, 'keepers');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  return [script, folder, process.execPath, ...smallHeap, ...process.execArgv];
}

/** The keeper itself stays in no folder, for that one could not be unmounted. */
export function keeperEnvironment(): NodeJS.ProcessEnv {
  return {
    ...tidyMalloc,
    ...process.env,
    SIPHON_DIRECTORY: process.cwd(),
    SIPHON_KEEPER_SECRET: randomBytes(32).toString('base64'),
  };
}

/** To be called before any path is resolved. */
export async function enterDirectory(): Promise<void> {
  const directory = process.env['SIPHON_DIRECTORY'];
  if ((await currentKeeper()) === undefined || directory === undefined) return;
  try {
    process.chdir(directory);
  } catch {
    // It is gone; absolute paths are as good as ever.
  }
}

/**
 * Ends this process for another to take its place when it is asked to (SIGUSR2), once `beforehand` is
 * done. Without a kernel that hands requests on, nothing happens: readers would get errors.
 */
export function onReplacement(
  keeper: Keeper | undefined,
  log: Logger,
  beforehand: () => Promise<void>,
): void {
  if (keeper === undefined) return;
  process.on('SIGUSR2', () => {
    if (!keeper.canBeSucceeded()) {
      log.warn('asked for a new server, which this kernel does not allow; nothing is done');
      return;
    }
    log.warn({ server: process.pid }, 'making room for a new server');
    void beforehand()
      .catch((error: unknown) => log.error({ err: error }, 'cannot end in order'))
      .finally(() => process.kill(process.pid, 'SIGKILL'));
  });
}

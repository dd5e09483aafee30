/**
 * A container in the foreground: bundle, runtime, end. The order of undoing is the reverse of the
 * order of making: signals stop being forwarded, the runtime deletes the container (killing it where
 * it still runs), and then its folder goes. The root filesystem is the caller's, before and after.
 */

import { isatty } from 'node:tty';
import { SiphonError, errorMessage } from '../common/errors.js';
import { ContainerDirectory } from './container-directory.js';
import { findRuntime } from './find-runtime.js';
import { openStreams } from './process-streams.js';
import { prepareContainer } from './prepare-container.js';
import type { RunContainerOptions } from './run-options.js';
import { RuntimeCommands } from './runtime-commands.js';
import { startFailure } from './start-failure.js';
import { type RuntimeEnd, superviseRuntime } from './supervise-runtime.js';

/** Names of containerd's containers are not longer either. */
const ID = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,75}$/;

/**
 * Runs a process of an image until it ends. SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2
 * that reach us meanwhile are handed on to it; the third SIGINT or SIGTERM kills it.
 * @returns its exit code, 128+n where signal n ended it
 * @throws CommandError with the exit code to end with, where the command cannot be run;
 * SiphonError `usage`, `invalid` (the image's user, folders), `already-exists` (the id),
 * `not-found` (no runtime), `permission` (not root), `cancelled` (`signal`), `failed-precondition`
 */
export async function runContainer(options: RunContainerOptions): Promise<number> {
  checkCaller(options);
  checkNotCancelled(options);
  const runtime = await findRuntime(options.runtime ?? 'runc');
  const spec = await prepareContainer(options);
  checkNotCancelled(options);
  const directory = await ContainerDirectory.create(options.root, options.id, spec);
  const commands = new RuntimeCommands(runtime, options.id, directory);
  try {
    return await runInForeground(options, commands, directory);
  } finally {
    await cleanUp(options, commands, directory);
  }
}

async function runInForeground(
  options: RunContainerOptions,
  commands: RuntimeCommands,
  directory: ContainerDirectory,
): Promise<number> {
  checkNotCancelled(options);
  const streams = openStreams(options.stdio ?? {});
  let end: RuntimeEnd;
  try {
    const child = commands.run(streams.fds);
    streams.release();
    end = await superviseRuntime(child, commands, directory, options);
    // The container outlives a runtime that was killed, and would hold its output open for ever.
    if (end.killed) await commands.delete();
  } catch (error) {
    streams.abandon();
    throw error;
  } finally {
    streams.release();
    await streams.finish();
  }
  checkNotCancelled(options);
  if (end.code === 0 || end.killed || (await directory.hasStarted())) return end.code;
  throw startFailure(options.id, await directory.log());
}

/** Never throws: what it could tell would hide how the container ended. */
async function cleanUp(
  { id, log }: RunContainerOptions,
  commands: RuntimeCommands,
  directory: ContainerDirectory,
): Promise<void> {
  try {
    // A runtime that saw the process end has already deleted it, and a second call costs time.
    if (await directory.hasState()) await commands.delete();
    await directory.remove();
  } catch (error) {
    log.error({ id, folder: directory.path, error: errorMessage(error) }, 'container left behind');
  }
}

function checkCaller({ id, terminal, stdio }: RunContainerOptions): void {
  if (!ID.test(id)) {
    throw new SiphonError(
      'usage',
      `Cannot name a container "${id}": expected a letter or digit, then at most 75 more, "_", "." or "-"`,
    );
  }
  if (process.geteuid?.() !== 0) {
    throw new SiphonError('permission', 'Cannot run containers: this is not root, expected root');
  }
  const stdin = stdio?.stdin ?? 'inherit';
  const fd = stdin === 'inherit' ? 0 : stdin;
  if (terminal === true && !(typeof fd === 'number' && isatty(fd))) {
    throw new SiphonError(
      'usage',
      'Cannot give the container a terminal: standard input is none, expected a terminal',
    );
  }
}

function checkNotCancelled({ id, signal }: RunContainerOptions): void {
  if (!signal.aborted) return;
  throw new SiphonError('cancelled', `Cannot go on running container "${id}": it was cancelled`, {
    cause: signal.reason,
  });
}

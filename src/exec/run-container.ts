/**
 * A container in the foreground: bundle, runtime, end. The order of undoing is the reverse of the
 * order of making: signals stop being forwarded, the runtime deletes the container (killing it where
 * it still runs), and then its folder goes. The root filesystem is the caller's, before and after.
 */

import { isatty } from 'node:tty';
import { SiphonError, errorMessage } from '../common/errors.js';
import { checkContainerId } from './container-id.js';
import { ContainerDirectory } from './container-directory.js';
import { detectCgroupMode } from './cgroup-mode.js';
import { cgroupName } from './container-cgroup.js';
import { type MemoryWitness, memoryWitness } from './memory-witness.js';
import { findRuntime } from './find-runtime.js';
import { openStreams } from './process-streams.js';
import { prepareContainer } from './prepare-container.js';
import type { RunContainerOptions } from './run-options.js';
import { RuntimeCommands } from './runtime-commands.js';
import { outputError } from './output-error.js';
import { isRuntimeError, startFailure } from './start-failure.js';
import { type RuntimeEnd, superviseRuntime } from './supervise-runtime.js';

/**
 * Runs a process of an image until it ends. SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2
 * that reach us meanwhile are handed on to it; the third SIGINT or SIGTERM kills it.
 * @returns its exit code, 128+n where signal n ended it, and whether it had more memory than it may
 * @throws CommandError with the exit code to end with, where the command cannot be run;
 * SiphonError `usage`, `invalid` (the image's user, folders), `already-exists` (the id),
 * `not-found` (no runtime), `permission` (not root), `cancelled` (`signal`), `failed-precondition`, also where what
 * it printed could not be written
 */
export async function runContainer(options: RunContainerOptions): Promise<ContainerEnd> {
  checkCaller(options);
  checkNotCancelled(options);
  const runtime = await findRuntime(options.runtime ?? 'runc');
  const commands = new RuntimeCommands(
    runtime,
    options.id,
    ContainerDirectory.at(options.directory, options.id),
  );
  const witness = memoryWitness({
    commands,
    cgroup: cgroupName(options.id, options.directory),
    mode: await detectCgroupMode(),
    isLimited: options.memory !== undefined,
  });
  const { cgroup } = witness;
  const spec = await prepareContainer({ terminalSize: terminalSize(), ...options, cgroup });
  checkNotCancelled(options);
  const directory = await ContainerDirectory.create(options.directory, options.id, spec);
  try {
    return await runInForeground(options, { commands, directory, witness });
  } finally {
    await cleanUp(options, commands, directory);
    await witness[Symbol.asyncDispose]();
  }
}

interface Parts {
  commands: RuntimeCommands;
  directory: ContainerDirectory;
  witness: MemoryWitness;
}

export interface ContainerEnd {
  exitCode: number;
  /** The kernel killed one of its processes for the memory they used together. */
  outOfMemory: boolean;
}

async function runInForeground(
  options: RunContainerOptions,
  { commands, directory, witness }: Parts,
): Promise<ContainerEnd> {
  checkNotCancelled(options);
  // Nothing is waited for from here until signals are handed on: none is lost in between.
  checkWanted(options);
  const { terminal } = options;
  const isComplaint = (text: string): boolean => isRuntimeError(text, directory.logFile);
  const streams = openStreams(options.stdio ?? {}, { terminal, isComplaint });
  const onStart = async (): Promise<void> => {
    await witness.begin();
    await options.onStart?.();
  };
  let end: RuntimeEnd;
  let lost: unknown;
  try {
    const child = commands.run(streams.fds, { keep: witness.keep });
    streams.release();
    end = await superviseRuntime(child, commands, directory, { ...options, onStart });
    // The container outlives a runtime that was killed, and would hold its output open for ever.
    if (end.killed) await commands.delete();
  } catch (error) {
    streams.abandon();
    throw error;
  } finally {
    streams.release();
    lost = await streams.finish();
  }
  checkNotCancelled(options);
  if (end.code === 0 || end.killed || (await directory.hasStarted())) {
    if (lost !== undefined) throw outputError(options.id, lost);
    return { exitCode: end.code, outOfMemory: await witness.ranOut() };
  }
  throw startFailure(`start container "${options.id}"`, await directory.log());
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
  checkContainerId(id);
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

/** Columns and rows of the terminal that our output goes to, if it does. */
function terminalSize(): [number, number] | undefined {
  return [process.stdout, process.stderr].find((stream) => stream.isTTY)?.getWindowSize();
}

function checkWanted({ id, unwanted }: RunContainerOptions): void {
  if (unwanted?.aborted !== true) return;
  throw new SiphonError(
    'cancelled',
    `Cannot start container "${id}": it was told to end before it began`,
    { cause: unwanted.reason },
  );
}

function checkNotCancelled({ id, signal }: RunContainerOptions): void {
  if (!signal.aborted) return;
  throw new SiphonError('cancelled', `Cannot go on running container "${id}": it was cancelled`, {
    cause: signal.reason,
  });
}

/**
 * A container in the foreground: bundle, runtime, end. The order of undoing is the reverse of the
 * order of making: signals stop being forwarded, the runtime deletes the container (killing it where
 * it still runs), and then its folder goes. The root filesystem is the caller's, before and after.
 */

import type { ChildProcess } from 'node:child_process';
import { constants } from 'node:os';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isatty } from 'node:tty';
import { SiphonError, errorMessage } from '../common/errors.js';
import { detectCgroupMode } from './cgroup-mode.js';
import { checkCommand } from './command-lookup.js';
import { ContainerDirectory } from './container-directory.js';
import { containerSpec } from './container-spec.js';
import { networkMounts } from './default-mounts.js';
import { findRuntime } from './find-runtime.js';
import { openStreams } from './process-streams.js';
import { ensureDirectoryInRootfs } from './rootfs-path.js';
import type { RunContainerOptions } from './run-options.js';
import { RuntimeCommands } from './runtime-commands.js';
import type { RuntimeSpec } from './runtime-spec.js';
import { forwardSignals } from './signal-forwarding.js';
import { startFailure } from './start-failure.js';
import { readAccountFiles, resolveUser } from './user-lookup.js';

/** Names of containerd's containers are not longer either. */
const ID = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,75}$/;

/** How long a kill may be repeated while the container is still being created, ms. */
const KILL_PATIENCE = 10_000;
const KILL_INTERVAL = 100;

/** How often a signal that came early looks whether the container is there, ms. */
const START_INTERVAL = 20;

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
  const spec = await prepare(options);
  checkNotCancelled(options);
  const directory = await ContainerDirectory.create(options.root, options.id, spec);
  const commands = new RuntimeCommands(runtime, options.id, directory);
  try {
    return await runInForeground(options, commands, directory);
  } finally {
    await cleanUp(options, commands, directory);
  }
}

/** Makes the root filesystem ready and says what is to run in it. */
async function prepare(options: RunContainerOptions): Promise<RuntimeSpec> {
  const { id, config } = options;
  const rootfs = resolve(options.rootfs);
  const image = config.config ?? {};
  const [files, cgroupMode, hostMounts] = await Promise.all([
    readAccountFiles(rootfs),
    detectCgroupMode(),
    networkMounts(options.network ?? 'host'),
  ]);
  const user = resolveUser(options.user ?? image.User ?? '', files);
  const spec = containerSpec({
    id,
    rootfs,
    image,
    overrides: options,
    user,
    cgroupMode,
    hostMounts,
  });
  await checkCommand(rootfs, spec);
  for (const path of [spec.process.cwd, ...(image.Volumes ?? [])]) {
    await ensureDirectoryInRootfs(rootfs, path);
  }
  return spec;
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
    end = await supervise(child, commands, directory, options);
  } finally {
    streams.release();
    await streams.finish();
  }
  checkNotCancelled(options);
  if (end.code === 0 || end.killed || (await directory.hasStarted())) return end.code;
  throw startFailure(options.id, await directory.log());
}

/** Hands signals on and listens for cancellation until the runtime ends. */
async function supervise(
  child: ChildProcess,
  commands: RuntimeCommands,
  directory: ContainerDirectory,
  options: RunContainerOptions,
): Promise<RuntimeEnd> {
  const { id, log, signal, terminal = false, signalSource = process } = options;
  let killing: Promise<void> | undefined;
  const kill = (): void => {
    killing ??= killUntilEnded(child, commands, options);
  };
  const forward = (name: NodeJS.Signals): void => {
    forwardOnceStarted(child, directory, name).catch((error: unknown) => {
      log.warn({ id, signal: name, error: errorMessage(error) }, 'signal was not handed on');
    });
  };
  const stopForwarding = forwardSignals({ source: signalSource, terminal, forward, kill });
  signal.addEventListener('abort', kill, { once: true });
  try {
    return await runtimeEnd(child);
  } finally {
    stopForwarding();
    signal.removeEventListener('abort', kill);
    await killing;
  }
}

interface RuntimeEnd {
  code: number;
  /** A signal ended the runtime itself, which then could not tell about the container. */
  killed: boolean;
}

function runtimeEnd(child: ChildProcess): Promise<RuntimeEnd> {
  return new Promise((settle, fail) => {
    child.once('error', fail);
    child.once('exit', (code, signal) => {
      const number = signal === null ? 0 : constants.signals[signal];
      settle({ code: code ?? 128 + number, killed: signal !== null });
    });
  });
}

/**
 * The runtime passes signals on to the container. Before the container's process exists a signal
 * would end the runtime instead, in the middle of its work, so it waits.
 */
async function forwardOnceStarted(
  child: ChildProcess,
  directory: ContainerDirectory,
  signal: NodeJS.Signals,
): Promise<void> {
  while (isRunning(child) && !(await directory.hasStarted())) await sleep(START_INTERVAL);
  child.kill(signal);
}

/** A container that is still being created cannot be killed yet, so this tries until it has ended. */
async function killUntilEnded(
  child: ChildProcess,
  commands: RuntimeCommands,
  { id, log }: RunContainerOptions,
): Promise<void> {
  const deadline = Date.now() + KILL_PATIENCE;
  while (isRunning(child) && Date.now() < deadline) {
    await commands.kill('SIGKILL').catch((error: unknown) => {
      log.debug({ id, error: errorMessage(error) }, 'container could not be killed yet');
    });
    await sleep(KILL_INTERVAL);
  }
  if (isRunning(child)) child.kill('SIGKILL');
}

function isRunning(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
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

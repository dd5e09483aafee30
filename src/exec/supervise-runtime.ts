/** What happens between the start of a runtime's foreground process and its end. */

import type { ChildProcess } from 'node:child_process';
import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorMessage } from '../common/errors.js';
import type { ContainerDirectory } from './container-directory.js';
import type { RunContainerOptions } from './run-options.js';
import type { RuntimeCommands } from './runtime-commands.js';
import { forwardSignals } from './signal-forwarding.js';

/** How long a kill may be repeated while the container is still being created, ms. */
const KILL_PATIENCE = 10_000;
const KILL_INTERVAL = 100;

/** How often a signal that came early looks whether the container is there, ms. */
const START_INTERVAL = 20;
/** How long the runtime's own process may take to become the container's, ms. */
const INIT_PATIENCE = 10_000;

/**
 * Hands signals on and listens for cancellation until the runtime ends.
 * @param child the runtime, which lives as long as the container
 */
export async function superviseRuntime(
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
  const started = tellStart(child, directory, options);
  try {
    const end = await runtimeEnd(child);
    // A container that is killed while it is made looks to the runtime like one that cannot be.
    if (killing === undefined || (await directory.hasStarted())) return end;
    return { code: 128 + constants.signals.SIGKILL, killed: true };
  } finally {
    stopForwarding();
    await started;
    signal.removeEventListener('abort', kill);
    await killing;
  }
}

export interface RuntimeEnd {
  /** The exit code, 128+n where signal n ended the runtime. */
  code: number;
  /** The runtime could not tell about the container: a signal ended it, or the container too early. */
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

async function tellStart(
  child: ChildProcess,
  directory: ContainerDirectory,
  { onStart }: RunContainerOptions,
): Promise<void> {
  if (onStart === undefined) return;
  await startOrEnd(child, directory);
  if (await directory.hasStarted()) await onStart();
}

async function startOrEnd(child: ChildProcess, directory: ContainerDirectory): Promise<void> {
  while (isRunning(child) && !(await directory.hasStarted())) await sleep(START_INTERVAL);
}

/**
 * The runtime passes signals on to the container. Before the container's process exists a signal
 * would end the runtime instead, in the middle of its work, and before that process runs the container's program what
 * is to become it, so it waits.
 */
async function forwardOnceStarted(
  child: ChildProcess,
  directory: ContainerDirectory,
  signal: NodeJS.Signals,
): Promise<void> {
  await startOrEnd(child, directory);
  const deadline = Date.now() + INIT_PATIENCE;
  while (isRunning(child) && Date.now() < deadline && (await directory.isRuntimesOwn()))
    await sleep(START_INTERVAL);
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

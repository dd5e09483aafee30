/** What is done to a container that runs, from outside. */

import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { SiphonError, errorMessage } from '../common/errors.js';
import { isRunning, signalIfThere } from '../common/process.js';
import { cleanUpContainer } from './clean-up-container.js';
import type { ContainerHome } from './container-home.js';
import { type Status, describeContainer, isActive } from './container-status.js';
import { findRuntime } from './find-runtime.js';
import { RuntimeCommands } from './runtime-commands.js';

const WAIT_INTERVAL = 50; // ms

/** How long a killed container's keeper may take to put everything away, ms. */
const END_PATIENCE = 10_000;

/** Where an image names no signal. */
const STOP_SIGNAL = 'SIGTERM';

/** @throws SiphonError `usage` (the signal), `failed-precondition` (it does not run) */
export async function killContainer(home: ContainerHome, signal: string): Promise<void> {
  const name = parseSignal(signal);
  await control(home, 'send a signal to', ['running', 'paused'], (commands) => commands.kill(name));
}

/** Stops every process of the container where it is. @throws SiphonError `failed-precondition` */
export async function pauseContainer(home: ContainerHome): Promise<void> {
  await control(home, 'pause', ['running'], (commands) => commands.pause());
}

/** @throws SiphonError `failed-precondition` where it is not paused */
export async function resumeContainer(home: ContainerHome): Promise<void> {
  await control(home, 'resume', ['paused'], (commands) => commands.resume());
}

/**
 * Asks the container to end, by its image's signal, and kills it when `patience` ms are over.
 * @throws SiphonError `failed-precondition` where it does not run
 */
export async function stopContainer(home: ContainerHome, patience: number): Promise<void> {
  const { annotations } = await home.bundle.spec().catch(() => ({ annotations: undefined }));
  await killContainer(home, annotations?.['org.opencontainers.image.stopSignal'] ?? STOP_SIGNAL);
  const end = AbortSignal.timeout(patience);
  if ((await waitForContainer(home, end)) !== undefined) return;
  await killContainer(home, 'SIGKILL').catch((error: unknown) => {
    if (!(error instanceof SiphonError)) throw error; // It ended in between.
  });
  await waitForContainer(home, AbortSignal.timeout(END_PATIENCE));
}

/**
 * Waits until the container does not run.
 * @returns the exit code of its process, 137 where nobody saw it end; `undefined` when `signal` is aborted
 */
export async function waitForContainer(
  home: ContainerHome,
  signal: AbortSignal,
): Promise<number | undefined> {
  while (!signal.aborted) {
    const { status, state } = await describeContainer(home);
    if (!isActive(status)) return state.exitCode ?? 128 + constants.signals.SIGKILL;
    await sleep(WAIT_INTERVAL, undefined, { signal }).catch(() => {});
  }
  return undefined;
}

/**
 * Removes a container with all it has written.
 * @throws SiphonError `failed-precondition` where it runs and `force` is not given, `timeout`
 */
export async function removeContainer(
  home: ContainerHome,
  { force, rootfs }: { force: boolean; rootfs: { clear(folder: string): Promise<void> } },
): Promise<void> {
  const { status, record, state } = await describeContainer(home);
  if (isActive(status)) {
    if (!force) throw wrongStatus(home.id, 'remove', status, 'one that does not run');
    if (status === 'paused') await resumeContainer(home).catch(() => {});
    if (status === 'starting' && state.monitor !== undefined)
      signalIfThere(state.monitor.pid, 'SIGTERM');
    else await killContainer(home, 'SIGKILL').catch(() => {});
  }
  // Who was killed while it looked into its own mount ends, and lets the lock go, when the mount does.
  if (status === 'lost') await rootfs.clear(home.path);
  const claim = await claimAfterEnd(home, isActive(status) || status === 'lost' ? END_PATIENCE : 0);
  if (claim === undefined) return; // The keeper has removed it.
  try {
    await cleanUpContainer(home, record?.runtime ?? 'runc', rootfs);
    await home.remove();
  } finally {
    await claim.release();
  }
}

/** A keeper that does not end is killed. */
async function claimAfterEnd(
  home: ContainerHome,
  patience: number,
): ReturnType<ContainerHome['claim']> {
  const claim = await home.claim(patience);
  const { monitor } = await home.state();
  if (claim !== undefined || monitor === undefined) return claim;
  if (patience === 0) throw wrongStatus(home.id, 'remove', 'starting', 'one that does not run');
  if (await isRunning(monitor)) signalIfThere(monitor.pid, 'SIGKILL');
  return home.claim(END_PATIENCE);
}

async function control(
  home: ContainerHome,
  verb: string,
  wanted: readonly Status[],
  act: (commands: RuntimeCommands) => Promise<void>,
): Promise<void> {
  const { status, record } = await describeContainer(home);
  if (record === undefined || !wanted.includes(status)) {
    throw wrongStatus(home.id, verb, status, `one that is ${wanted.join(' or ')}`);
  }
  const runtime = await findRuntime(record.runtime);
  try {
    await act(new RuntimeCommands(runtime, home.id, home.bundle));
  } catch (cause) {
    throw new SiphonError(
      'failed-precondition',
      `Cannot ${verb} container "${home.id}": ${errorMessage(cause).trim().split('\n').at(-1) ?? ''}`,
      { cause },
    );
  }
}

/** A signal's name for the runtimes. @throws SiphonError `usage` */
function parseSignal(text: string): string {
  const known = constants.signals as Readonly<Record<string, number>>;
  const name = text.toUpperCase().replace(/^(?:SIG)?/, 'SIG');
  if (Object.hasOwn(known, name)) return name;
  const number = Number(text);
  if (Number.isInteger(number) && number > 0 && number <= 64) return text;
  throw new SiphonError(
    'usage',
    `Cannot send signal "${text}": expected one such as SIGTERM or 15`,
  );
}

function wrongStatus(id: string, verb: string, status: Status, expected: string): SiphonError {
  return new SiphonError(
    'failed-precondition',
    `Cannot ${verb} container "${id}": it is ${status}, expected ${expected}`,
  );
}

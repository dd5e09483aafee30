/**
 * Keeps one container from its root filesystem to its end, and writes down what becomes of it. This
 * process serves the container's files, so that it lives as long as the container: the command itself in
 * the foreground, a process of its own otherwise.
 */

import { SiphonError, errorMessage } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import { processIdentity } from '../common/process.js';
import { UndoStack } from '../common/undo-stack.js';
import { cleanUpContainer } from './clean-up-container.js';
import { type ContainerConsole, openConsole } from './container-console.js';
import type { ContainerHome } from './container-home.js';
import { type ContainerRecord, type ContainerState, keepsOutput } from './container-record.js';
import { openForegroundOutput } from './foreground-output.js';
import type { RunnableImage } from './image-process.js';
import { type ContainerEnd, runContainer } from './run-container.js';

/** A root filesystem that is ready to be written to. */
export interface OpenRootfs {
  path: string;
  config: RunnableImage;
  /** Of the image's manifest; absent where the source has none. */
  manifest?: string;
  /** How it was made ready, and why so: a sentence. */
  decision: string;
  /** Resolves when nobody serves its files any more; absent where nobody needs to. */
  unserved?: Promise<unknown>;
  close(): Promise<void>;
}

export interface RootfsProvider {
  /** In the container's folder, where an earlier run of the container may have left its changes. */
  open(folder: string): Promise<OpenRootfs>;
  /** Unmounts what a process left in the folder that was killed. */
  clear(folder: string): Promise<void>;
}

export interface MonitorOptions {
  rootfs: RootfsProvider;
  /** Whether a container that did not even start is removed. */
  removeFailed: boolean;
  onRootfs?: (decision: string) => void;
  /** Awaited before a detached container's process begins; `attached` resolves when somebody is. */
  beforeRun?: (attached: Promise<void>) => Promise<void>;
  onStart?: () => void;
  /** As of runContainer. */
  unwanted?: AbortSignal;
  log: Logger;
}

/**
 * Runs the container to its end.
 * @returns the exit code of its process
 * @throws SiphonError `failed-precondition` where it runs already, or its image has changed; as
 * runContainer and the provider
 */
export async function monitorContainer(
  home: ContainerHome,
  options: MonitorOptions,
): Promise<number> {
  const claim = await home.claim();
  if (claim === undefined) throw running(home.id);
  let remove = false;
  let exitCode = 1;
  let streams: OpenedStreams | undefined;
  try {
    const record = await home.requireRecord();
    streams = await openStreams(home, record, options.log);
    const outcome = await keep(home, record, { ...options, streams });
    remove = outcome.started ? record.autoRemove : options.removeFailed;
    if ('error' in outcome) throw outcome.error;
    ({ exitCode } = outcome);
  } finally {
    await streams?.close();
    if (remove) await home.remove();
    await claim.release();
    streams?.leave(exitCode);
  }
  return exitCode;
}

type Outcome = { started: boolean } & ({ exitCode: number } | { error: unknown });

interface KeepOptions extends MonitorOptions {
  streams: OpenedStreams;
}

async function keep(
  home: ContainerHome,
  record: ContainerRecord,
  options: KeepOptions,
): Promise<Outcome> {
  const before = await home.state();
  if (before.monitor !== undefined) await cleanUpContainer(home, record.runtime, options.rootfs);
  let state: ContainerState = {
    status: 'starting',
    monitor: await processIdentity(process.pid),
    ...(before.manifest === undefined ? {} : { manifest: before.manifest }),
  };
  let last: Promise<void> = Promise.resolve();
  const change = (changes: Partial<ContainerState>): Promise<void> => {
    state = { ...state, ...changes };
    const written = state;
    return (last = last.then(() => home.writeState(written)));
  };
  await change({});
  let started = false;
  try {
    const onStart = async (): Promise<void> => {
      started = true;
      const command = (await home.bundle.spec()).process.args;
      await change({ status: 'running', startedAt: new Date().toISOString(), command });
      options.onStart?.();
    };
    const end = await run(home, record, { ...options, onStart, change, manifest: before.manifest });
    await change({ status: 'exited', finishedAt: new Date().toISOString(), ...end });
    return { started: true, exitCode: end.exitCode };
  } catch (error) {
    const status = started || before.status !== 'created' ? 'exited' : 'created';
    await change({ status, finishedAt: new Date().toISOString(), error: errorMessage(error) });
    return { started, error };
  }
}

interface RunOptions extends Omit<KeepOptions, 'onStart'> {
  onStart: () => Promise<void>;
  change: (changes: Partial<ContainerState>) => Promise<void>;
  manifest: string | undefined;
}

async function run(
  home: ContainerHome,
  record: ContainerRecord,
  options: RunOptions,
): Promise<ContainerEnd> {
  const undo = new UndoStack();
  // Whoever hears that the container is over may look for all of its output.
  undo.defer(() => options.streams.close());
  try {
    const rootfs = await options.rootfs.open(home.path);
    undo.defer(() => rootfs.close());
    options.onRootfs?.(rootfs.decision);
    checkSameImage(record, options.manifest, rootfs);
    const { manifest } = rootfs;
    await options.change({
      rootfs: rootfs.decision,
      labels: { ...rootfs.config.config?.Labels, ...record.labels },
      ...(manifest === undefined ? {} : { manifest }),
    });
    undo.defer(noteLoss(home.id, rootfs, options));
    return await runOn(home, record, rootfs, options);
  } finally {
    await undo[Symbol.asyncDispose]();
  }
}

/**
 * Notes it when the files go before the container does. It is left to whoever wants to end it: a process
 * that has all it needs in memory can go on. @returns to be called before the files are closed
 */
function noteLoss(
  id: string,
  { unserved }: OpenRootfs,
  { change, log }: Pick<RunOptions, 'change' | 'log'>,
): () => void {
  let isOver = false;
  void unserved?.then(async () => {
    if (isOver) return;
    log.error(
      { id },
      `the server of container "${id}"'s files was killed: it reads nothing more until it is stopped and started`,
    );
    await change({ filesLost: true }).catch((error: unknown) => {
      log.warn({ id, error: errorMessage(error) }, 'the loss of the files was not noted');
    });
  });
  return () => {
    isOver = true;
  };
}

type OpenedStreams = Partial<ContainerConsole> & Pick<ContainerConsole, 'close' | 'leave'>;

/** Where the process's streams lead. */
async function openStreams(
  home: ContainerHome,
  record: ContainerRecord,
  log: Logger,
): Promise<OpenedStreams> {
  if (record.detached) return openConsole(home, record, log);
  return openForegroundOutput(home, { isKept: keepsOutput(record), log });
}

async function runOn(
  home: ContainerHome,
  record: ContainerRecord,
  rootfs: OpenRootfs,
  { streams, ...options }: RunOptions,
): Promise<ContainerEnd> {
  if (streams.attached !== undefined) await options.beforeRun?.(streams.attached);
  return runContainer({
    ...record.overrides,
    id: home.id,
    directory: home.bundle.path,
    rootfs: rootfs.path,
    config: rootfs.config,
    runtime: record.runtime,
    onStart: options.onStart,
    ...(record.terminalSize === undefined ? {} : { terminalSize: record.terminalSize }),
    signal: new AbortController().signal,
    log: options.log,
    ...(options.unwanted === undefined ? {} : { unwanted: options.unwanted }),
    ...streams,
  });
}

/** What the container has written lies on top of one image's files, and means nothing on others. */
function checkSameImage(
  { id, source }: ContainerRecord,
  before: string | undefined,
  { manifest }: OpenRootfs,
): void {
  if (before === undefined || manifest === before) return;
  throw new SiphonError(
    'failed-precondition',
    `Cannot start container "${id}": its image "${source}" has changed since it was created, expected manifest ${before}`,
    { hint: 'Create another container.' },
  );
}

function running(id: string): SiphonError {
  return new SiphonError(
    'failed-precondition',
    `Cannot start container "${id}": it runs, or another command is at it, expected one that does not run`,
  );
}

/**
 * A command that goes on after its caller got the prompt back: the same command line is started again
 * in the foreground, detached, and tells its parent over IPC how far it is. The parent shows that,
 * and ends when the child is ready or has failed.
 */

import { fork, type ChildProcess } from 'node:child_process';
import { mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { type ErrorCode, SiphonError, errorMessage } from '../common/errors.js';
import { CommandError } from '../exec/command-error.js';
import type { LayerEvent } from '../layers/layer-event.js';
import { type ProgressDisplay, createProgress } from './progress.js';
import { keeperArguments, keeperEnvironment, shell } from './under-keeper.js';
import { globalOptionsOf, settingsOf } from './settings.js';

type Message =
  | { kind: 'event'; event: LayerEvent }
  | { kind: 'ready'; folders: readonly string[] }
  | { kind: 'attachable' }
  | { kind: 'failed'; code: ErrorCode; exitCode?: 126 | 127; message: string; hint?: string };

export interface BackgroundCommand {
  /** Of the command that shall go on, without those that every command takes. */
  args: readonly string[];
  /** What it is for: `Cannot <purpose>: …`. */
  purpose: string;
  /** The file below `<root>/logs` that has what it logs. */
  logName: string;
  /** Called when it waits for somebody to attach. */
  onAttachable?: () => void;
  /** The person does not want it any more; without effect once it is ready. */
  interrupted: AbortSignal;
}

/**
 * Starts what shall go on, with the settings of `command`, and waits until it says that it is ready.
 * @throws SiphonError what the child failed with
 */
export async function startInBackground(
  command: Command,
  started: BackgroundCommand,
): Promise<void> {
  const child = startDetached(command, started);
  let progress: ProgressDisplay | undefined = createProgress();
  const endProgress = (): void => {
    progress?.end();
    progress = undefined;
  };
  const onAttachable = (): void => {
    endProgress();
    started.onAttachable?.();
  };
  const { interrupted } = started;
  // Not by a signal: it would end one that does not listen yet.
  const interrupt = (): void => void (child.connected && child.send('interrupt', () => {}));
  if (interrupted.aborted) interrupt();
  interrupted.addEventListener('abort', interrupt);
  try {
    const onEvent = (event: LayerEvent): void => progress?.update(event);
    await waitUntilReady(child, { ...started, onEvent, onAttachable });
  } finally {
    interrupted.removeEventListener('abort', interrupt);
    endProgress();
    if (child.connected) child.disconnect();
    child.unref();
  }
}

export interface ParentLink {
  update(event: LayerEvent): void;
  end(): void;
  /** This process waits for somebody to attach. */
  attachable(): void;
  /** @param folders of the layers, where this process serves some */
  ready(folders?: readonly string[]): void;
  /** Aborted when the parent went before this process was ready, or does not want it any more. */
  gone: AbortSignal;
}

/**
 * The link to the process that started this one in the background, or `undefined`.
 * @param options.takesMessages the caller takes what the parent sends; else all of it means to give up
 */
export function reportToParent({ takesMessages = false } = {}): ParentLink | undefined {
  if (process.send === undefined || process.env['SIPHON_BACKGROUND'] !== '1') return undefined;
  const gone = new AbortController();
  const leave = (): void => gone.abort();
  process.once('disconnect', leave);
  if (!takesMessages) {
    process.once('message', leave);
    process.channel?.unref(); // it alone keeps nobody here
  }
  if (!process.connected) leave();
  return {
    update: (event) => tell({ kind: 'event', event }),
    end() {},
    attachable: () => tell({ kind: 'attachable' }),
    ready(folders = []) {
      process.off('disconnect', leave);
      process.off('message', leave);
      process.chdir('/');
      tell({ kind: 'ready', folders });
    },
    gone: gone.signal,
  };
}

/**
 * Tells the parent why this process gives up, and lets go of it. What is no failure of the person's is
 * left to be printed, which goes to the log. @returns whether everything was said
 */
export function reportFailureToParent(error: unknown): boolean {
  if (process.env['SIPHON_BACKGROUND'] !== '1' || !process.connected) return false;
  const known = error instanceof SiphonError;
  const { code, message, hint } = known
    ? error
    : new SiphonError('internal', `Cannot go on in the background: ${errorMessage(error)}`);
  tell({
    kind: 'failed',
    code,
    message,
    ...(hint === undefined ? {} : { hint }),
    ...(error instanceof CommandError ? { exitCode: error.exitCode } : {}),
  });
  process.disconnect();
  return known;
}

function tell(message: Message): void {
  if (process.connected) process.send?.(message);
}

function startDetached(
  command: Command,
  { args, logName }: Pick<BackgroundCommand, 'args' | 'logName'>,
): ChildProcess {
  const log = openLog(settingsOf(command).root, logName);
  return fork(process.argv[1] ?? '', [...globalArguments(command), ...args], {
    detached: true,
    env: { ...process.env, SIPHON_BACKGROUND: '1' },
    stdio: ['ignore', log, log, 'ipc'],
  });
}

/**
 * Starts a command with a keeper between us and it, detached.
 * @param started.logName as in {@link BackgroundCommand}; without, it logs where we do
 */
export function startKept(
  command: Command,
  { args, logName }: { args: readonly string[]; logName: string | undefined },
): ChildProcess {
  const { root } = settingsOf(command);
  const log = logName === undefined ? 'inherit' : openLog(root, logName);
  return fork(process.argv[1] ?? '', [...globalArguments(command), ...args], {
    detached: true,
    env: { ...keeperEnvironment(), SIPHON_BACKGROUND: '1' },
    stdio: ['ignore', 'ignore', log, 'ipc'],
    // The keeper in between saves the child from becoming it first.
    execPath: shell,
    execArgv: keeperArguments(root),
  });
}

function openLog(root: string, name: string): number {
  mkdirSync(join(root, 'logs'), { recursive: true, mode: 0o700 });
  return openSync(join(root, 'logs', name), 'a', 0o600);
}

/** What every command takes. */
function globalArguments(command: Command): string[] {
  const { root, platform, plainHttp, hostsDir, fillAfter, logLevel } = globalOptionsOf(command);
  return [
    '--root',
    root,
    '--log-level',
    logLevel,
    ...(platform === undefined ? [] : ['--platform', platform]),
    ...(plainHttp === true ? ['--plain-http'] : []),
    ...(hostsDir === undefined ? [] : ['--hosts-dir', hostsDir]),
    '--fill-after',
    String(fillAfter),
  ];
}

export interface Expectation {
  /** As in {@link BackgroundCommand}. */
  purpose: string;
  logName: string | undefined;
  onEvent?: (event: LayerEvent) => void;
  onAttachable?: () => void;
}

/** @returns what the child is ready with, see {@link ParentLink.ready} @throws SiphonError what it failed with */
export function waitUntilReady(
  child: ChildProcess,
  { purpose, logName, onEvent, onAttachable }: Expectation,
): Promise<readonly string[]> {
  return new Promise((done, fail) => {
    child.on('message', (message: Message) => {
      if (message.kind === 'event') onEvent?.(message.event);
      else if (message.kind === 'ready') done(message.folders);
      else if (message.kind === 'attachable') onAttachable?.();
      else fail(failureOf(message));
    });
    child.once('error', fail);
    child.once('exit', (status, signal) => {
      fail(
        new SiphonError(
          'internal',
          `Cannot ${purpose}: the process in the background ended with ${signal ?? `exit code ${status}`}`,
          logName === undefined ? {} : { hint: `logs/${logName} below the root folder says more.` },
        ),
      );
    });
  });
}

function failureOf({ code, exitCode, message, hint }: Message & { kind: 'failed' }): SiphonError {
  const options = hint === undefined ? {} : { hint };
  if (exitCode !== undefined) return new CommandError(exitCode, message, options);
  return new SiphonError(code, message, options);
}

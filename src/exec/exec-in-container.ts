/** One more process in a container that runs. */

import { type ChildProcess } from 'node:child_process';
import { constants } from 'node:fs';
import { type FileHandle, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { constants as os } from 'node:os';
import { posix, join } from 'node:path';
import { isatty } from 'node:tty';
import { SiphonError } from '../common/errors.js';
import { parseMountInfo } from '../common/mount-info.js';
import { signalIfThere } from '../common/process.js';
import type { ContainerHome } from './container-home.js';
import { describeContainer } from './container-status.js';
import { findRuntime } from './find-runtime.js';
import { applyGivenEnv } from './process-env.js';
import { openStreams } from './process-streams.js';
import { RuntimeCommands } from './runtime-commands.js';
import type { Process } from './runtime-spec.js';
import type { ProcessStdio } from './run-options.js';
import { forwardSignals } from './signal-forwarding.js';
import { specText } from './spec-text.js';
import { checkCommand, checkFolder } from './command-lookup.js';
import { outputError } from './output-error.js';
import { isRuntimeError, startFailure } from './start-failure.js';
import { readAccountFiles, resolveUser } from './user-lookup.js';

export interface ExecOptions {
  args: readonly string[];
  /** As {@link ProcessOverrides}. */
  env?: readonly string[];
  user?: string;
  workdir?: string;
  terminal?: boolean;
  interactive?: boolean;
  /** It goes on by itself, without input, and what it prints is lost. */
  detach?: boolean;
  /** Columns and rows of the caller's terminal. */
  terminalSize?: readonly [number, number] | undefined;
  signalSource?: NodeJS.EventEmitter;
}

/**
 * Runs it on this process's own streams, with what the container's own process was given.
 * @returns its exit code; 0 once one that is detached has begun
 * @throws SiphonError `failed-precondition` where the container does not run; as runContainer
 */
export async function execInContainer(home: ContainerHome, options: ExecOptions): Promise<number> {
  const { status, record } = await describeContainer(home);
  if (record === undefined || status !== 'running') throw notRunning(home.id, status);
  if (options.detach === true && options.terminal === true) throw noDetachedTerminal();
  if (options.terminal === true && !isatty(0)) throw noTerminal();
  const runtime = await findRuntime(record.runtime);
  const commands = new RuntimeCommands(runtime, home.id, home.bundle);
  const spec = await prepareProcess(home, options);
  const folder = await mkdtemp(join(home.bundle.path, 'exec-'));
  try {
    return await run(commands, folder, spec, options, home.id);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** What is to be run, by what the container has now. */
async function prepareProcess(home: ContainerHome, options: ExecOptions): Promise<Process> {
  const spec = await home.bundle.spec();
  const root = await openRoot(home, spec.root.path);
  try {
    const rootfs = `/proc/self/fd/${root.fd}`;
    const process = await execProcess(rootfs, spec.process, options);
    // So that the answer is one sentence, and not the runtime's.
    const runnable = { process, mounts: spec.mounts };
    await checkFolder(rootfs, runnable);
    await checkCommand(rootfs, runnable);
    return process;
  } finally {
    await root.close();
  }
}

/**
 * The container's root as its first process sees it, for on the host it may be unmounted; as the host sees it where
 * that process has gone into a smaller one (chroot(2)).
 * @throws SiphonError `failed-precondition` where there is no such process
 */
async function openRoot(home: ContainerHome, onHost: string): Promise<FileHandle> {
  const first = `/proc/${await home.bundle.processId()}`;
  try {
    const mounts = parseMountInfo(await readFile(`${first}/mountinfo`, 'latin1'));
    const isWhole = mounts.some(({ mountPoint }) => mountPoint === '/');
    const path = isWhole ? `${first}/root` : onHost;
    return await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch {
    throw notRunning(home.id, (await describeContainer(home)).status);
  }
}

async function execProcess(
  rootfs: string,
  process: Process,
  options: ExecOptions,
): Promise<Process> {
  const { user, workdir, terminal = false, terminalSize: [width, height] = [0, 0] } = options;
  const { consoleSize: _, ...own } = process;
  const resolved =
    user === undefined ? undefined : resolveUser(user, await readAccountFiles(rootfs));
  const { home: homeFolder, ...ids } = resolved ?? { home: undefined, ...process.user };
  const given = homeFolder === undefined ? [] : [`HOME=${homeFolder}`];
  return {
    ...own,
    terminal,
    ...(terminal && width > 0 && height > 0 ? { consoleSize: { width, height } } : {}),
    user: ids,
    args: [...options.args],
    env: applyGivenEnv(process.env, [
      ...(terminal ? ['TERM=xterm'] : []),
      ...given,
      ...(options.env ?? []),
    ]),
    cwd: workdir === undefined ? process.cwd : posix.resolve('/', workdir),
  };
}

async function run(
  commands: RuntimeCommands,
  folder: string,
  spec: Process,
  { terminal = false, interactive = false, detach = false, signalSource = process }: ExecOptions,
  id: string,
): Promise<number> {
  const files = {
    processFile: join(folder, 'process.json'),
    pidFile: join(folder, 'pid'),
    logFile: join(folder, 'log'),
  };
  await writeFile(files.processFile, specText(spec), { mode: 0o600 });
  const streams = openStreams(stdioOf({ terminal, interactive, detach }), {
    terminal,
    isComplaint: (text) => isRuntimeError(text, files.logFile),
  });
  const child = commands.exec(files, streams.fds, { detach });
  streams.release();
  const forward = (signal: NodeJS.Signals): void => void child.kill(signal);
  const stop = forwardSignals({
    source: signalSource,
    terminal,
    forward,
    kill: () => {
      streams.abandon();
      void killProcess(child, files.pidFile);
    },
  });
  let code: number;
  let lost: unknown;
  try {
    code = await exitOf(child);
  } finally {
    stop();
    lost = await streams.finish();
  }
  if (code !== 0 && !(await hasText(files.pidFile))) {
    const log = await readFile(files.logFile, 'utf8').catch(() => '');
    throw startFailure(`run "${spec.args[0] ?? ''}" in container "${id}"`, log);
  }
  if (lost !== undefined) throw outputError(id, lost);
  return code;
}

function stdioOf({
  terminal,
  interactive,
  detach,
}: Pick<ExecOptions, 'terminal' | 'interactive' | 'detach'>): ProcessStdio {
  if (detach === true) return { stdin: 'ignore', stdout: 'ignore', stderr: 'ignore' };
  return terminal === true || interactive === true ? {} : { stdin: 'ignore' };
}

/** The runtime could not hand that signal on: its process would go on without it. */
async function killProcess(child: ChildProcess, pidFile: string): Promise<void> {
  const pid = Number(await readFile(pidFile, 'utf8').catch(() => ''));
  if (child.exitCode !== null || child.signalCode !== null) return;
  if (pid > 0) signalIfThere(pid, 'SIGKILL');
  else child.kill('SIGKILL');
}

function exitOf(child: ChildProcess): Promise<number> {
  return new Promise((done, fail) => {
    child.once('error', fail);
    child.once('exit', (code, signal) => {
      done(code ?? 128 + (signal === null ? 0 : os.signals[signal]));
    });
  });
}

/** The runtime writes a process's id once it exists. */
async function hasText(path: string): Promise<boolean> {
  return (await readFile(path, 'utf8').catch(() => '')) !== '';
}

function notRunning(id: string, status: string): SiphonError {
  return new SiphonError(
    'failed-precondition',
    `Cannot run a command in container "${id}": it is ${status}, expected one that is running`,
  );
}

function noTerminal(): SiphonError {
  return new SiphonError(
    'usage',
    'Cannot give the command a terminal: standard input is none, expected a terminal',
  );
}

function noDetachedTerminal(): SiphonError {
  return new SiphonError(
    'usage',
    'Cannot give a detached command a terminal: nobody would sit at it, expected one of --detach and --tty',
  );
}

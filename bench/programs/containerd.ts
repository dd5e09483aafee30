/**
 * A private containerd: its own root, state, socket and namespace, so that it never meets one that the
 * machine runs. What it starts is found again by its socket's address and stopped by process id.
 */

import { execFile, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, open, readFile, readdir, rm, rmdir, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { errorMessage } from '#src/common/errors.js';
import { endProgram } from './end-program.js';
import { CLOSING_TIMEOUT } from './execute.js';
import { unmountBelow } from './remove-place.js';

export interface ContainerdOptions {
  /** Names of snapshotters, each with its socket: they become proxy plugins. */
  snapshotters?: Readonly<Record<string, string>>;
  /** Where its folder is made; default: the folder for temporary files. */
  within?: string;
  /** The words of a program that becomes the one it is given, as nsenter(1) in a network namespace does. */
  enter?: readonly string[];
  /** Keep containerd's CRI plugin, and what goes into its section of the configuration. */
  cri?: string;
}

export interface CommandResult {
  stdout: string;
  stderr: string;
}

export interface Containerd {
  /** Path of the gRPC socket. */
  address: string;
  /** Namespace that {@link ctr} works in; also names the containers' cgroups. */
  namespace: string;
  /** Holds containerd's root and state. */
  folder: string;
  pid: number;
  /** Runs ctr against this containerd. @throws with its standard error where it fails */
  ctr: (args: readonly string[]) => Promise<CommandResult>;
  /** Runs Debian's ctr-remote so. */
  ctrRemote: (args: readonly string[]) => Promise<CommandResult>;
  /**
   * Runs a container to its end, by `ctr run` with these arguments. Its output takes the way of a file: ctr drops what it
   * has not begun to read when it hears of the end.
   * @returns what it printed, on both streams @throws as {@link ctr}, and with what it printed
   */
  runToEnd: (args: readonly string[]) => Promise<string>;
  /** Ends containers, shims and containerd, and leaves no mount and no folder. */
  close: () => Promise<void>;
}

/** Milliseconds that containerd may take to answer. */
const START_TIMEOUT = 30_000;
/** Milliseconds that a killed process may take to be gone. */
const KILL_TIMEOUT = 2_000;
const COMMAND_TIMEOUT = 120_000;

const run = promisify(execFile);

/** Why no containerd can be started here, or `undefined`; for tests that skip. */
export function containerdMissing(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root';
  for (const program of ['containerd', 'ctr', 'containerd-shim-runc-v2', 'runc']) {
    const found = (process.env['PATH'] ?? '')
      .split(':')
      .some((folder) => existsSync(join(folder, program)));
    if (!found) return `needs ${program} on the path`;
  }
  return undefined;
}

export async function startContainerd(options: ContainerdOptions = {}): Promise<Containerd> {
  const folder = await mkdtemp(join(options.within ?? tmpdir(), 'siphon-containerd-'));
  const address = join(folder, 'containerd.sock');
  const namespace = basename(folder);
  const stop = async (): Promise<void> => {
    await stopShims(address);
    await removeShimSockets(folder);
    await unmountBelow(folder);
    await removeCgroups(namespace);
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    const target = ['--address', address, '--namespace', namespace];
    const daemon = await startDaemon(folder, address, options);
    const command = (program: string, timeout?: number) => (args: readonly string[]) => {
      const words = [...(options.enter ?? []), program];
      return runCommand(words, [...target, ...args], { folder, ...(timeout && { timeout }) });
    };
    const ctr = command('ctr');
    const close = async (): Promise<void> => {
      if (daemon.isRunning()) await endContainers(command('ctr', CLOSING_TIMEOUT));
      await daemon.stop();
      await stop();
    };
    const { pid } = daemon;
    return {
      address,
      namespace,
      folder,
      pid,
      ctr,
      ctrRemote: command('ctr-remote'),
      runToEnd: (args) => runToEnd(ctr, join(folder, 'tmp'), args),
      close,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/**
 * Waits until containerd has found a snapshotter again that was away: it lets some seconds pass before
 * it dials a socket anew that did not answer, and every call fails until then.
 * @param options before ctr's command; the namespace must have snapshots
 */
export async function untilReconnected(
  { ctr }: Containerd,
  snapshotter: string,
  ...options: string[]
): Promise<void> {
  const usage = [...options, 'snapshots', '--snapshotter', snapshotter, 'usage'];
  for (const deadline = Date.now() + START_TIMEOUT; ; await delay(100)) {
    try {
      await ctr(usage);
      return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
  }
}

interface Daemon {
  pid: number;
  isRunning(): boolean;
  stop(): Promise<void>;
}

async function startDaemon(
  folder: string,
  address: string,
  options: ContainerdOptions,
): Promise<Daemon> {
  const config = join(folder, 'config.toml');
  await mkdir(join(folder, 'tmp'));
  await writeFile(config, configuration(folder, address, options));
  const logPath = join(folder, 'containerd.log');
  const log = await open(logPath, 'w');
  const env = { ...process.env, TMPDIR: join(folder, 'tmp') };
  const [program, ...words] = [...(options.enter ?? []), 'containerd'];
  const child = spawn(program, [...words, '--config', config], {
    stdio: ['ignore', log.fd, log.fd],
    env,
  });
  await log.close();
  const isRunning = (): boolean => child.exitCode === null && child.signalCode === null;
  const stop = (): Promise<void> => endProgram(child);
  for (const deadline = Date.now() + START_TIMEOUT; !(await accepts(address)); await delay(50)) {
    if (isRunning() && Date.now() < deadline) continue;
    await stop();
    throw new Error(
      `containerd does not start:\n${(await readFile(logPath, 'utf8')).slice(-4_000)}`,
    );
  }
  return { pid: child.pid ?? 0, isRunning, stop };
}

function configuration(folder: string, address: string, options: ContainerdOptions): string {
  const disabled = ['io.containerd.internal.v1.tracing', 'io.containerd.tracing.processor.v1.otlp'];
  disabled.push('io.containerd.snapshotter.v1.aufs', 'io.containerd.snapshotter.v1.devmapper');
  disabled.push('io.containerd.snapshotter.v1.btrfs', 'io.containerd.snapshotter.v1.zfs');
  if (options.cri === undefined) disabled.push('io.containerd.grpc.v1.cri');
  const lines = [
    'version = 2',
    `root = "${join(folder, 'root')}"`,
    `state = "${join(folder, 'state')}"`,
    `disabled_plugins = ${JSON.stringify(disabled)}`,
    '[grpc]',
    `  address = "${address}"`,
    '[ttrpc]',
    `  address = "${address}.ttrpc"`,
    '[plugins."io.containerd.internal.v1.opt"]',
    `  path = "${join(folder, 'opt')}"`,
  ];
  for (const [name, socket] of Object.entries(options.snapshotters ?? {})) {
    lines.push(`[proxy_plugins.${name}]`, '  type = "snapshot"', `  address = "${socket}"`);
  }
  if (options.cri !== undefined) lines.push(options.cri);
  return `${lines.join('\n')}\n`;
}

function accepts(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(address);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

async function runCommand(
  program: readonly string[],
  args: readonly string[],
  { folder, timeout = COMMAND_TIMEOUT }: { folder: string; timeout?: number },
): Promise<CommandResult> {
  const env = { ...process.env, TMPDIR: join(folder, 'tmp') };
  const options = { env, timeout, maxBuffer: 64 * 1024 * 1024 };
  try {
    const [first = '', ...words] = program;
    return await run(first, [...words, ...args], options);
  } catch (error) {
    const { stderr = '', stdout = '' } = error as Partial<CommandResult>;
    throw new Error(`${program.at(-1)} ${args.slice(4).join(' ')}: ${stderr}${stdout}`, {
      cause: error,
    });
  }
}

async function runToEnd(
  ctr: Containerd['ctr'],
  folder: string,
  args: readonly string[],
): Promise<string> {
  const path = join(folder, `output-${randomUUID()}`);
  try {
    await ctr(['run', '--rm', '--log-uri', `file://${path}`, ...args]);
  } catch (error) {
    const printed = await readFile(path, 'utf8').catch(() => '');
    throw new Error(`${errorMessage(error)}${printed}`, { cause: error });
  }
  return readFile(path, 'utf8');
}

/** Best effort: whatever survives this is stopped by {@link stopShims}. */
async function endContainers(ctr: Containerd['ctr']): Promise<void> {
  const list = async (args: string[]): Promise<string[]> => {
    const { stdout } = await ctr(args).catch(() => ({ stdout: '' }));
    return stdout.split('\n').filter((line) => line !== '');
  };
  for (const id of await list(['tasks', 'ls', '-q'])) {
    await ctr(['tasks', 'rm', '--force', id]).catch(() => undefined);
  }
  for (const id of await list(['containers', 'ls', '-q'])) {
    await ctr(['containers', 'rm', id]).catch(() => undefined);
  }
}

/** Shims name their containerd's address in their arguments; their children die with their cgroup. */
async function stopShims(address: string): Promise<void> {
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    const words = command.split('\0');
    if (!words[0]?.includes('containerd-shim') || !words.includes(address)) continue;
    for (const child of await childrenOf(pid)) kill(child);
    kill(Number(pid));
  }
}

async function childrenOf(pid: string): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
  return text.split(' ').filter(Boolean).map(Number);
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}

/** runc leaves the namespace's cgroup, and those of containers that it could not start or whose shim was killed. */
async function removeCgroups(namespace: string): Promise<void> {
  const controllers = await readdir('/sys/fs/cgroup').catch(() => []);
  for (const controller of ['', ...controllers]) {
    const folder = join('/sys/fs/cgroup', controller, namespace);
    const deadline = Date.now() + KILL_TIMEOUT;
    // Those that are killed hold their cgroup until they are gone.
    while (!(await removeCgroup(folder)) && Date.now() < deadline) await delay(20);
  }
}

/** @returns whether nothing of it is left */
async function removeCgroup(folder: string): Promise<boolean> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    if (entry.isDirectory()) await removeCgroup(join(folder, entry.name));
  }
  const members = await readFile(join(folder, 'cgroup.procs'), 'utf8').catch(() => '');
  for (const pid of members.split('\n').filter(Boolean)) kill(Number(pid));
  await rmdir(folder).catch(() => undefined);
  return !existsSync(folder);
}

/** A killed shim leaves its socket outside containerd's folders; its bundle says where. */
async function removeShimSockets(folder: string): Promise<void> {
  const bundles = join(folder, 'state/io.containerd.runtime.v2.task');
  for (const name of await readdir(bundles, { recursive: true }).catch(() => [])) {
    if (basename(name) !== 'address') continue;
    const address = await readFile(join(bundles, name), 'utf8').catch(() => '');
    if (address.startsWith('unix://')) await rm(address.slice('unix://'.length), { force: true });
  }
}

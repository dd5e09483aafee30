/**
 * A temporary folder that a test may mount in and run siphon on. Closing it ends the servers that were
 * started on its root, unmounts what is left below it and removes it, whatever state the test is in.
 */

import { spawn, spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, readdir, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isRunning, signalIfThere } from '#src/common/process.js';
import { listMounts } from '#src/common/mount-info.js';
import { layerMounts } from '#src/layers/layer-mounts.js';
import { siphonProgram } from '../../bench/programs/siphon-program.js';

export interface Outcome {
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface Sandbox extends AsyncDisposable {
  readonly directory: string;
  /** siphon's root, as given to every {@link siphon} call. */
  readonly root: string;
  /** An absolute path in the sandbox; the folder is made. */
  folder(name: string): Promise<string>;
  /** Runs `siphon` to its end. */
  siphon(...args: string[]): Promise<Outcome>;
  /** Mount points below the sandbox. */
  mounts(): Promise<string[]>;
  /** Names of the layers that `siphon serve` shows, in any of its mounts. */
  shownLayers(): Promise<string[]>;
}

/** @param env for siphon, besides that of the tests */
export async function openSandbox(env: NodeJS.ProcessEnv = {}): Promise<Sandbox> {
  const directory = await realpath(await mkdtemp(join(tmpdir(), 'siphon-test-')));
  const root = join(directory, 'root');
  return {
    directory,
    root,
    async folder(name) {
      const path = join(directory, name);
      await mkdir(path, { recursive: true });
      return path;
    },
    siphon: (...args) =>
      run(process.execPath, [siphonProgram, '--root', root, ...args], {
        env: { ...process.env, ...env },
      }),
    mounts: () => mountsBelow(directory),
    shownLayers: () => shownLayers(root),
    async [Symbol.asyncDispose]() {
      await endServers(root);
      for (const path of (await mountsBelow(directory)).toReversed()) {
        spawnSync('umount', ['--lazy', path]);
      }
      // Of those that are ending, some still write.
      await rm(directory, { recursive: true, force: true, maxRetries: 10 });
    },
  };
}

async function shownLayers(root: string): Promise<string[]> {
  const shown = layerMounts.map((mount) => readdir(join(root, mount)).catch(() => []));
  return (await Promise.all(shown)).flat();
}

/** Runs a program to its end, with nothing on its standard input. */
export function run(
  program: string,
  args: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
    const output = { stdout: '', stderr: '' };
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output.stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (output.stderr += text));
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, ...output }));
  });
}

/** As {@link run}; a failure is thrown with what the program said. @returns its standard output */
export async function must(program: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(program, args);
  if (code !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${code}: ${stderr}`);
  return stdout;
}

async function mountsBelow(directory: string): Promise<string[]> {
  return (await listMounts())
    .map((entry) => entry.mountPoint)
    .filter((path) => path.startsWith(`${directory}/`));
}

async function endServers(root: string): Promise<void> {
  const folder = join(root, 'mounts');
  const names = await readdir(folder).catch(() => []);
  for (const name of names.filter((one) => one.endsWith('.json'))) {
    const record = await readFile(join(folder, name), 'utf8').catch(() => undefined);
    if (record === undefined) continue; // it was unmounted meanwhile
    const { server } = JSON.parse(record);
    if (!(await isRunning(server))) continue;
    signalIfThere(server.pid, 'SIGKILL');
    while (await isRunning(server)) await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Containers whose files go before they do: who serves them, or who started that, is killed. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { findProcesses, signalIfThere } from '#src/common/process.js';
import { siphonProgram } from '../../bench/programs/siphon-program.js';
import { writeContainerImage } from '../support/container-image.js';
import { type Sandbox, openSandbox } from '../support/sandbox.js';

const skip = process.getuid?.() !== 0;

let sandbox: Sandbox;
let source: string;

beforeAll(async () => {
  if (skip) return;
  sandbox = await openSandbox();
  ({ source } = await writeContainerImage(sandbox.directory, { Cmd: ['sleep', '1000'] }));
}, 60_000);

afterEach(async () => {
  if (skip) return;
  const left = (await ok('ps', '--all', '--quiet')).split('\n').filter(Boolean);
  if (left.length > 0) await ok('rm', '--force', ...left);
  expect(await readdir(join(sandbox.root, 'run'))).toEqual([]);
  expect(await sandbox.mounts()).toEqual([]);
  expect(await hosts()).toEqual([]);
});

afterAll(() => sandbox?.[Symbol.asyncDispose]());

async function ok(...args: string[]): Promise<string> {
  const outcome = await sandbox.siphon(...args);
  expect(outcome, outcome.stderr).toMatchObject({ code: 0 });
  return outcome.stdout;
}

/** Keepers and servers of containers' layers. */
function hosts(isWanted: (args: readonly string[]) => boolean = () => true): Promise<number[]> {
  return findProcesses(
    (args) =>
      args.includes('serve-layers') &&
      args.some((arg) => arg.startsWith(sandbox.root)) &&
      isWanted(args),
  );
}

async function monitorOf({ root }: Sandbox, name: string): Promise<number> {
  const text = await readFile(join(root, 'run', name, 'state.json'), 'utf8');
  return (JSON.parse(text) as { monitor: { pid: number } }).monitor.pid;
}

const isKeeper = (args: readonly string[]): boolean =>
  args.some((arg) => arg.endsWith('siphon-keeper'));

describe.skipIf(skip)('containers without their files: need root', () => {
  it('do not come back after rm, by a server that had hardly begun', async () => {
    const args = [siphonProgram, '--root', sandbox.root, 'run', '--name', 'ghost', source];
    const child = spawn(process.execPath, args, { stdio: 'ignore' });
    const ended = once(child, 'exit');
    const isServer = (one: readonly string[]): boolean => !isKeeper(one);
    let servers: number[] = [];
    const find = async (): Promise<number[]> => (servers = await hosts(isServer));
    await expect.poll(find, { interval: 2 }).toHaveLength(1);
    const [server = 0] = servers;
    process.kill(server, 'SIGSTOP');
    child.kill('SIGKILL');
    await ended;
    await ok('rm', '--force', 'ghost');
    signalIfThere(server, 'SIGCONT');
    await expect.poll(hosts, { timeout: 20_000 }).toEqual([]);
    expect(await ok('ps', '--all', '--quiet')).toBe('');
  }, 60_000);

  it('are told from others by ps, and can be stopped, started and removed', async () => {
    // A shell that waits for input needs no more files.
    await ok('run', '-d', '-i', '--name', 'c', source, 'sh', '-c', 'echo up; read x');
    const hasBegun = (): Promise<string> => ok('logs', 'c');
    await expect.poll(hasBegun, { timeout: 20_000 }).toBe('up\n');
    for (const pid of await hosts(isKeeper)) process.kill(pid, 'SIGKILL');
    const status = async (): Promise<string> => ok('ps', '--all');
    await expect.poll(status, { timeout: 20_000 }).toMatch(/^c .* running, files lost +\d+$/m);
    expect(JSON.parse(await ok('ps', '--json'))).toMatchObject([
      { id: 'c', status: 'running', filesLost: true },
    ]);
    expect(await readFile(join(sandbox.root, 'logs/run.log'), 'utf8')).toContain(
      `the server of container \\"c\\"'s files was killed`,
    );
    expect((await sandbox.siphon('exec', 'c', 'id')).code).not.toBe(0);
    await ok('stop', '--time', '0', 'c');
    expect(await status()).toMatch(/^c .* exited \(\d+\), files lost/m);
    await ok('start', 'c');
    expect(await ok('exec', 'c', 'id', '-u')).toBe('0\n');
    expect(await status()).not.toContain('lost');
    for (const pid of await hosts(isKeeper)) process.kill(pid, 'SIGKILL');
    await ok('rm', '--force', 'c');
  }, 60_000);

  it('of one name in several roots end alone', async () => {
    await using other = await openSandbox();
    await ok('run', '-d', '--name', 'twin', source);
    expect(await other.siphon('run', '-d', '--name', 'twin', source)).toMatchObject({ code: 0 });
    process.kill(await monitorOf(other, 'twin'), 'SIGKILL');
    expect(await other.siphon('rm', '--force', 'twin')).toMatchObject({ code: 0 });
    expect(await ok('exec', 'twin', 'id', '-u')).toBe('0\n');
    await ok('rm', '--force', 'twin');
  }, 60_000);
});

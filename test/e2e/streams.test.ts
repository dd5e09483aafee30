/** What containers print and are told, where readers are slow, stand still or go away. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { pipe } from '#src/ffi/pipe.js';
import { awaitSignals } from '../support/await-signals.js';
import { writeContainerImage } from '../support/container-image.js';
import { file } from '../support/images.js';
import { type Sandbox, openSandbox, run } from '../support/sandbox.js';
import { until } from '../support/until.js';
import { type Terminal, startSiphonInTerminal } from '../support/terminal.js';

const skip = process.getuid?.() !== 0;

/** More than whatever lies between a container and a terminal would keep. */
const big = Array.from({ length: 1_300_000 }, (_, line) => `${line}\n`).join('');

let sandbox: Sandbox;
let source: string;

beforeAll(async () => {
  if (skip) return;
  sandbox = await openSandbox();
  ({ source } = await writeContainerImage(sandbox.directory, {}, [
    [file('big', Buffer.from(big))],
  ]));
}, 60_000);

afterEach(async () => {
  if (skip) return;
  const { stdout } = await sandbox.siphon('ps', '--all', '--quiet');
  const names = stdout.split('\n').filter(Boolean);
  if (names.length > 0) await sandbox.siphon('rm', '--force', ...names);
});

afterAll(() => sandbox?.[Symbol.asyncDispose]());

function atTerminal(...args: string[]): Terminal {
  return startSiphonInTerminal(sandbox, ...args);
}

/** A container that prints on and on, at a terminal that has come to a stand. */
async function standing(...options: string[]): Promise<Terminal> {
  const script = 'echo START; cat /big /big';
  const terminal = atTerminal('run', '-t', ...options, source, 'sh', '-c', script);
  await terminal.see('START\r\n');
  terminal.standStill();
  return terminal;
}

async function stateOf(name: string): Promise<{ status: string; exitCode?: number }> {
  const path = join(sandbox.root, 'run', name, 'state.json');
  return JSON.parse(await readFile(path, 'utf8')) as { status: string; exitCode?: number };
}

/** What is in a file, nothing where there is none yet. */
function textOf(path: string): Promise<string> {
  return readFile(path, 'utf8').catch(() => '');
}

/** Whether a process has a handler for the signal. */
async function catches(pid: number, name: NodeJS.Signals): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const mask = BigInt(`0x${/^SigCgt:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? ''}`);
  return ((mask >> BigInt(constants.signals[name] - 1)) & 1n) === 1n;
}

/** Starts siphon with a pipe as its output that nobody reads. */
function unread(...args: string[]): ReturnType<typeof spawn> {
  const { read, write } = pipe();
  const child = spawn(process.execPath, ['bin/siphon', '--root', sandbox.root, ...args], {
    stdio: ['ignore', write, 'ignore'],
  });
  closeSync(write);
  child.once('exit', () => closeSync(read));
  return child;
}

/**
 * runc without a pid namespace: the first process of one ignores the signals that it has not come to handle,
 * and nobody could say which of them got lost on their way.
 */
async function writeRuntimeOfHostPids(directory: string): Promise<string> {
  const path = join(directory, 'runc-host-pids');
  const text = `#!/bin/sh
for word do
  if [ "$before" = --bundle ]; then
    sed -i 's/{"type":"pid"},//' "$word/config.json"
    grep -q '"type":"pid"' "$word/config.json" && exit 99
  fi
  before=$word
done
exec runc "$@"
`;
  await writeFile(path, text, { mode: 0o755 });
  return path;
}

describe.skipIf(skip)('streams of containers: need root', () => {
  it('a container that is told to end just before it begins does not run on', async () => {
    const runtime = await writeRuntimeOfHostPids(sandbox.directory);
    const script = `trap "exit 7" TERM; ${awaitSignals}`;
    for (const wait of [0, 10]) {
      const how = ['run', '--rm', '--verbose', '--runtime', runtime, source];
      const args = ['bin/siphon', '--root', sandbox.root, ...how, 'sh', '-c', script];
      const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
      const ended = once(child, 'exit');
      // Said when the files are there and the runtime is about to begin.
      for await (const text of child.stderr) if (String(text).includes('root file system:')) break;
      await sleep(wait);
      child.kill('SIGTERM');
      const [code] = (await ended) as [number | null];
      // 125: before it began. 143: it had not come to its trap.
      expect([7, 125, 143]).toContain(code);
    }
  });

  it('run -t on a terminal that stands still loses nothing, and its exit code comes last', async () => {
    const terminal = atTerminal(
      'run',
      '-t',
      '--name',
      's',
      source,
      'sh',
      '-c',
      'echo START; cat /big; exit 7',
    );
    await terminal.see('START\r\n');
    terminal.standStill();
    await sleep(1500);
    expect(await stateOf('s')).toMatchObject({ status: 'running' });
    terminal.goOn();
    const last = '1299999\r\n';
    const shown = await terminal.see(last);
    expect(shown === big.replaceAll('\n', '\r\n')).toBe(true);
    expect(await terminal.ended).toBe(7);
  }, 60_000);

  it('a terminal that stands still does not keep a container from being killed and over', async () => {
    const terminal = await standing('--name', 'k');
    await sleep(500);
    await sandbox.siphon('kill', '-s', 'SIGKILL', 'k');
    expect((await sandbox.siphon('wait', 'k')).stdout).toBe('137\n');
    terminal.goOn();
    expect(await terminal.ended).toBe(137);
  }, 60_000);

  it('whoever asks run -t three times to end has it ended, though its terminal stands still', async () => {
    const heard = await sandbox.folder('heard');
    const script =
      'trap "echo >>/heard/asked" TERM; echo START; cat /big /big & while :; do wait; done';
    const options = ['--rm', '--name', 'a', '--volume', `${heard}:/heard`];
    const terminal = atTerminal('run', '-t', ...options, source, 'sh', '-c', script);
    await terminal.see('START\r\n');
    terminal.standStill();
    // Signals that come together are one to who gets them.
    for (const asked of ['\n', '\n\n']) {
      terminal.signal('SIGTERM');
      await until(async () => (await textOf(join(heard, 'asked'))) === asked);
    }
    terminal.signal('SIGTERM');
    expect(await terminal.ended).toBe(137);
    await until(async () => (await sandbox.siphon('ps', '--all', '--quiet')).stdout === '');
  }, 60_000);

  it('who is attached and does not read stalls neither the container nor its log', async () => {
    const script = 'read a; cat /big; echo done';
    await sandbox.siphon('run', '-d', '-t', '--name', 'd', source, 'sh', '-c', script);
    const terminal = atTerminal('attach', 'd');
    // Before anything comes: the faster the container, the less would be left to wait for it.
    terminal.standStill();
    terminal.type('go\n');
    expect((await sandbox.siphon('wait', 'd')).stdout).toBe('0\n');
    expect((await sandbox.siphon('logs', '--tail', '1', 'd')).stdout).toBe('done\r\n');
    terminal.goOn();
    await terminal.see('Cannot stay attached to container "d"', 90_000);
    expect(await terminal.ended).toBe(1);
  }, 120_000);

  it('Ctrl-C reaches a container in the foreground whose reader stands still', async () => {
    const told = await sandbox.folder('told');
    // The first process of a pid namespace ignores what it has not come to handle, as a shell has by its first line.
    const script = 'echo >/told/up; while echo x; do :; done';
    const options = ['--name', 'c', '--volume', `${told}:/told`];
    const siphon = unread('run', ...options, source, 'sh', '-c', script);
    const ended = once(siphon, 'exit');
    await until(async () => (await textOf(join(told, 'up'))) === '\n');
    await until(async () => (await stateOf('c')).status === 'running');
    await sleep(500); // to fill what lies between
    siphon.kill('SIGINT');
    await until(async () => (await stateOf('c')).status === 'exited');
    expect(await stateOf('c')).toMatchObject({ exitCode: 130 });
    // What was printed waits for its reader; who asks once more, when signals have their own effect again, does not.
    await until(async () => !(await catches(siphon.pid ?? 0, 'SIGINT')));
    siphon.kill('SIGINT');
    expect(await ended).toEqual([null, 'SIGINT']);
  }, 60_000);

  it('run -t ends with its terminal, of which the container hears', async () => {
    const script = `trap "exit 5" HUP; echo up; ${awaitSignals}`;
    const terminal = atTerminal('run', '-t', '--name', 'h', source, 'sh', '-c', script);
    await terminal.see('up');
    terminal.close();
    await terminal.ended;
    await until(async () => (await stateOf('h')).status === 'exited');
    expect(await stateOf('h')).toMatchObject({ exitCode: 5 });
  }, 60_000);

  it('output that cannot be written is told, and is no success', async () => {
    const siphon = `${process.execPath} bin/siphon --root ${sandbox.root}`;
    const sh = (line: string) => run('sh', ['-c', line]);
    const full = await sh(`${siphon} run --name f ${source} sh -c 'echo x; exit 0' >/dev/full`);
    expect(full.code).toBe(125);
    expect(full.stderr).toMatch(/siphon: Cannot write what container "f" prints: ENOSPC/);
    expect(await stateOf('f')).toMatchObject({ status: 'exited', exitCode: 0 });
    const logs = await sh(`${siphon} logs f >/dev/full`);
    expect(logs).toMatchObject({ code: 1, stderr: expect.stringContaining('ENOSPC') });
    const list = await sh(`${siphon} ps --all >/dev/full`);
    expect(list).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^siphon: Cannot write .*ENOSPC.*\n$/) as string,
    });
  }, 60_000);

  it('a run goes on whose progress cannot be written', async () => {
    const siphon = `${process.execPath} bin/siphon --root ${sandbox.root}`;
    const line = `${siphon} run --rm --name p ${source} sh -c 'echo x; exit 5' 2>/dev/full`;
    expect(await run('sh', ['-c', line])).toMatchObject({ code: 5, stdout: 'x\n' });
    expect((await sandbox.siphon('ps', '--all', '--quiet')).stdout).toBe('');
  }, 60_000);

  it('a command that hears the hangup ends by it when its terminal is gone', async () => {
    await sandbox.siphon('run', '-d', '--name', 'u', source, 'sh', '-c', 'echo up; sleep 100');
    for (const command of [
      ['logs', '-f', 'u'],
      ['exec', '-t', 'u', 'sh', '-c', 'echo up; cat'],
    ]) {
      const terminal = atTerminal(...command);
      await terminal.see('up');
      terminal.close();
      terminal.signal('SIGHUP');
      expect(await terminal.ended, command.join(' ')).toBe(128 + 1);
    }
  }, 60_000);

  it('whoever asks exec three times to end has its program ended', async () => {
    await sandbox.siphon('run', '-d', '--name', 'k', source, 'sleep', '100');
    const script = `trap "echo heard" INT; echo up; ${awaitSignals}`;
    const terminal = atTerminal('exec', 'k', 'sh', '-c', script);
    await terminal.see('up');
    // Signals that come together are one to who gets them.
    for (let times = 0; times < 2; times++) {
      terminal.signal('SIGINT');
      await terminal.see('heard\n');
    }
    terminal.signal('SIGINT');
    expect(await terminal.ended).toBe(128 + 9);
    const list = 'for p in /proc/[0-9]*; do cat $p/cmdline; done';
    const { stdout } = await sandbox.siphon('exec', 'k', 'sh', '-c', list);
    expect(stdout).not.toContain('echo up');
  }, 60_000);

  it('attach ends quietly when nobody reads it any more', async () => {
    await sandbox.siphon(
      'run',
      '-d',
      '--name',
      'e',
      source,
      'sh',
      '-c',
      'while echo x; do sleep 0.05; done',
    );
    const line = `(${process.execPath} bin/siphon --root ${sandbox.root} attach e; echo $? >&2) | head -1`;
    const { stdout, stderr } = await run('sh', ['-c', line]);
    expect({ stdout, stderr }).toEqual({ stdout: 'x\n', stderr: '\r\ndetached from e\n0\n' });
    expect(await stateOf('e')).toMatchObject({ status: 'running' });
  }, 60_000);
});

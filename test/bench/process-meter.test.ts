import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { type ProcessGroup, openProcessGroup } from '../../bench/meters/process-group.js';
import { startProcessMeter } from '../../bench/meters/process-meter.js';
import { startUntilReady } from '../../bench/meters/ready.js';
import { containerdMissing, startContainerd } from '../../bench/programs/containerd.js';
import { buildShellImage } from '../support/shell-image.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const MIB = 1 << 20;
const patience = 20_000; // ms

/** Fills memory of a known size when it is told to, then says so. */
const filler = (mebibytes: number): string => `
import sys
print('idle', flush=True)
sys.stdin.readline()
kept = b'x' * (${mebibytes} << 20)
print('full', flush=True)
sys.stdin.readline()`;

/** Uses a processor for a known time, by its own clock. */
const worker = (seconds: number): string =>
  `import time\nwhile time.process_time() < ${seconds}: pass`;

/** Empty for whoever has ended, waited for or not. */
function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').join(' ').trim();
  } catch {
    return '';
  }
}

function startIn(group: ProcessGroup, ...command: string[]) {
  const [program, ...args] = [...group.enter, ...command];
  return spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
}

describe.skipIf(process.getuid?.() !== 0)('a process meter', () => {
  test('finds memory of a known size, resident and proportional', async () => {
    await using group = await openProcessGroup();
    const child = startIn(group, 'python3', '-c', filler(64));
    await once(child.stdout, 'data');
    const idle = await startProcessMeter(group);
    const [before] = await idle.stop();
    const meter = await startProcessMeter(group, 10);
    child.stdin.write('\n');
    await once(child.stdout, 'data');
    await sleep(50);
    const [after] = await meter.stop();
    expect(after?.name).toMatch(/^python3/);
    for (const key of ['peakPssBytes', 'peakRssBytes'] as const) {
      const grown = (after?.[key] ?? 0) - (before?.[key] ?? 0);
      expect(grown, key).toBeGreaterThan(63 * MIB);
      expect(grown, key).toBeLessThan(70 * MIB);
    }
  });

  test('has a peak that was over before it looked, and none of before it began', async () => {
    await using group = await openProcessGroup();
    const script = `
import sys, mmap
for line in sys.stdin:
    kept = mmap.mmap(-1, 64 << 20)
    kept.write(b'x' * (64 << 20))
    kept.close()
    print('was full', flush=True)`;
    const child = startIn(group, 'python3', '-c', script);
    child.stdin.write('\n');
    await once(child.stdout, 'data');
    const second = await startProcessMeter(group, 1e6);
    const [calm] = await second.stop();
    expect(calm?.peakRssBytes).toBeLessThan(50 * MIB);
    const first = await startProcessMeter(group, 1e6);
    child.stdin.write('\n');
    await once(child.stdout, 'data');
    const [full] = await first.stop();
    expect(full?.peakRssBytes).toBeGreaterThan(64 * MIB);
  });

  test('shares what processes share: two of a kind are less than twice one', async () => {
    await using group = await openProcessGroup();
    const script = `
import os, time
kept = b'x' * (64 << 20)
os.fork()
os.write(1, b'.')
time.sleep(60)`;
    const child = startIn(group, 'python3', '-c', script);
    let said = '';
    child.stdout.on('data', (text: Buffer) => (said += text.toString()));
    while (said.length < 2) await sleep(10);
    const meter = await startProcessMeter(group);
    const uses = await meter.stop();
    expect(uses).toHaveLength(1);
    expect(uses[0]?.peakRssBytes).toBeGreaterThan(128 * MIB);
    expect(uses[0]?.peakPssBytes).toBeLessThan(90 * MIB);
    expect(uses[0]?.peakPssBytes).toBeGreaterThan(64 * MIB);
  });

  test('finds processor time of a known length, by program', async () => {
    await using group = await openProcessGroup();
    const meter = await startProcessMeter(group, 10);
    const child = startIn(group, 'python3', '-c', `${worker(0.5)}\nprint(1, flush=True)\ninput()`);
    await once(child.stdout, 'data');
    const uses = await meter.stop();
    const all = uses.reduce((sum, { cpuMs }) => sum + cpuMs, 0);
    const python = uses.find(({ name }) => name.startsWith('python'));
    expect(python?.cpuMs).toBeGreaterThan(480);
    expect(all).toBeLessThan(1500);
  });

  test('finds what is far less than a tick', async () => {
    await using group = await openProcessGroup();
    const script = `
import sys, time
print('idle', flush=True)
sys.stdin.readline()
end = time.process_time() + 0.004
while time.process_time() < end: pass
print('done', flush=True)
sys.stdin.readline()`;
    const child = startIn(group, 'python3', '-c', script);
    await once(child.stdout, 'data');
    const meter = await startProcessMeter(group, 1e6);
    child.stdin.write('\n');
    await once(child.stdout, 'data');
    const [python] = await meter.stop();
    expect(python?.cpuMs).toBeGreaterThanOrEqual(4);
    expect(python?.cpuMs).toBeLessThan(100);
  });

  test('has the processor time of programs that it never saw', async () => {
    await using group = await openProcessGroup();
    const meter = await startProcessMeter(group, 1e6);
    const child = startIn(group, 'python3', '-c', worker(0.3));
    await once(child, 'exit');
    const [only, ...others] = await meter.stop();
    expect(others).toEqual([]);
    expect(only).toMatchObject({ name: 'short-lived programs', peakPssBytes: 0, peakRssBytes: 0 });
    expect(only?.cpuMs).toBeGreaterThan(280);
    expect(only?.cpuMs).toBeLessThan(1500);
  });

  test('leaves out what was taken before it began', async () => {
    await using group = await openProcessGroup();
    const child = startIn(group, 'python3', '-c', `${worker(0.5)}\nprint(1, flush=True)\ninput()`);
    await once(child.stdout, 'data');
    const meter = await startProcessMeter(group);
    const uses = await meter.stop();
    expect(uses.reduce((sum, { cpuMs }) => sum + cpuMs, 0)).toBeLessThan(250);
  });

  test('calls a script by its name', async () => {
    await using group = await openProcessGroup();
    const siphon = new URL('../../bin/siphon', import.meta.url).pathname;
    const preload =
      '--import=data:text/javascript,console.log("here");await new Promise(()=>setTimeout(()=>0,1e5))';
    await startUntilReady([...group.enter, process.execPath, preload, siphon], /here/, patience);
    const meter = await startProcessMeter(group);
    expect((await meter.stop()).map(({ name }) => name)).toEqual(['siphon']);
  });

  test('calls a shell that was given its script as text by its own name', async () => {
    await using group = await openProcessGroup();
    const child = startIn(group, 'sh', '-ec', ': >/dev/null; echo here; read line; true', '/bin/x');
    await once(child.stdout, 'data');
    const meter = await startProcessMeter(group);
    expect((await meter.stop()).map(({ name }) => name)).toEqual(['sh']);
    child.kill('SIGKILL');
  });
});

describe.skipIf(process.getuid?.() !== 0)('a process group', () => {
  test('keeps those whose parents are gone, and ends them when it closes', async () => {
    const group = await openProcessGroup();
    const [program, ...args] = [...group.enter, 'sh', '-c', 'sleep 300 & setsid -f sleep 301'];
    execFileSync(program, args, { stdio: 'ignore' });
    const commands = async (): Promise<string[]> =>
      (await group.members()).map((pid) => commandLine(pid)).toSorted();
    await expect.poll(commands, { timeout: patience }).toEqual(['sleep 300', 'sleep 301']);
    const members = await group.members();
    await group[Symbol.asyncDispose]();
    for (const pid of members) expect(commandLine(pid)).toBe('');
  });

  test.skipIf(containerdMissing() !== undefined)(
    'has containerd and its shims, and not the containers',
    async () => {
      await using folder = await temporaryFolder();
      await using group = await openProcessGroup();
      const { archive } = await buildShellImage(folder.path, 'test/shell:latest');
      const containerd = await startContainerd({ enter: group.enter });
      try {
        await containerd.ctr(['images', 'import', archive]);
        const container = ['test/shell:latest', 'one', 'sh', '-c', 'while :; do sleep 301; done'];
        await containerd.ctr(['run', '--detach', ...container]);
        const programs = async (): Promise<string[]> =>
          (await group.members()).map((pid) => basename(commandLine(pid).split(' ')[0] ?? ''));
        const expected = ['containerd', 'containerd-shim-runc-v2'];
        await expect
          .poll(async () => (await programs()).toSorted(), { timeout: patience })
          .toEqual(expected);
      } finally {
        await containerd.close();
      }
    },
  );
});

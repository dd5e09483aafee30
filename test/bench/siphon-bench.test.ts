/** `siphon bench` on a small image of the test's own, with containerd as it comes and with siphon. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { containerdMissing } from '../../bench/programs/containerd.js';
import { type BenchResult, type MeasuredRun, isMeasured } from '../../bench/harness/result.js';
import { siphonProgram } from '../../bench/programs/siphon-program.js';
import { type Sandbox, openSandbox, run } from '../support/sandbox.js';
import { buildShellImage, checkScript } from '../support/shell-image.js';

const missing = containerdMissing();

/** Words of a benchmark of an image in the sandbox. @param ready matches what its container prints */
async function words(
  sandbox: Sandbox,
  ready: string,
  contestants = ['overlayfs'],
): Promise<string[]> {
  const { layout } = await buildShellImage(sandbox.directory);
  const options = [
    '--rounds',
    '1',
    '--scenarios',
    'starts',
    '--cache',
    join(sandbox.directory, 'cache'),
  ];
  const who = ['--contestants', ...contestants];
  const output = ['--output', join(sandbox.directory, 'result.json')];
  const command = ['--', '/bin/sh', '-c', checkScript, '--ready', ready];
  return [
    siphonProgram,
    'bench',
    `oci:${layout}:latest`,
    ...options,
    ...who,
    ...output,
    ...command,
  ];
}

async function resultIn(sandbox: Sandbox): Promise<BenchResult> {
  return JSON.parse(await readFile(join(sandbox.directory, 'result.json'), 'utf8')) as BenchResult;
}

test.skipIf(missing !== undefined)(
  'a user’s image is pulled and started by everyone, and what they fetched is counted',
  { timeout: 90_000 },
  async () => {
    await using sandbox = await openSandbox();
    const everyone = ['overlayfs', 'siphon-indexed'];
    const all = await words(sandbox, '^low high gone', everyone);
    const env = { ...process.env, TMPDIR: sandbox.directory };
    const { code, stderr } = await run(process.execPath, all, { env });
    expect(code, stderr).toBe(0);
    const { scenarios, images } = await resultIn(sandbox);
    expect(scenarios.map(({ name }) => name)).toEqual(['cold-start', 'warm-start']);
    const [cold, warm] = scenarios.map(({ rows }) =>
      rows.map(({ runs }) => {
        expect(runs[0]).not.toHaveProperty('errors');
        return runs[0] as MeasuredRun; // as was just seen
      }),
    );
    const size = (images[0]?.layers ?? []).reduce((sum, layer) => sum + layer.size, 0);
    expect(cold?.[0]?.traffic?.bytes).toBeGreaterThan(size);
    for (const { ms, phases, traffic, processes } of cold ?? []) {
      const sum = Object.values(phases ?? {}).reduce((total, part) => total + part, 0);
      expect(sum).toBeCloseTo(ms, 3);
      expect(traffic?.requests).toBeGreaterThan(3);
      expect(processes?.some(({ name }) => name === 'containerd')).toBe(true);
    }
    expect(warm?.[0]?.traffic?.bytes).toBe(0);
    expect(leftOf(sandbox)).toEqual([]);
  },
);

test.skipIf(missing !== undefined)(
  'a program that never says so is an error, and no number',
  { timeout: 90_000 },
  async () => {
    await using sandbox = await openSandbox();
    const env = { ...process.env, TMPDIR: sandbox.directory };
    await run(process.execPath, await words(sandbox, 'never printed'), { env });
    const { scenarios } = await resultIn(sandbox);
    const runs = scenarios.flatMap(({ rows }) => rows.flatMap((row) => row.runs));
    expect(runs.length).toBeGreaterThan(0);
    expect(runs.filter(isMeasured)).toEqual([]);
    expect(JSON.stringify(runs)).toContain('never printed');
  },
);

test.skipIf(missing !== undefined)(
  'Ctrl-C ends it, and leaves nothing running, mounted or stored but the cache',
  { timeout: 90_000 },
  async () => {
    await using sandbox = await openSandbox();
    const child = spawn(process.execPath, await words(sandbox, 'never printed'), {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, TMPDIR: sandbox.directory },
    });
    const exited = once(child, 'exit');
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      if (said.includes('round 1')) setTimeout(() => child.kill('SIGINT'), 700);
    });
    await exited;
    expect(said).toContain('round 1');
    expect(child.exitCode).not.toBe(0);
    expect(await sandbox.mounts()).toEqual([]);
    expect(leftOf(sandbox)).toEqual([]);
    const { stdout } = await run('pgrep', ['--full', sandbox.directory]);
    expect(stdout).toBe('');
  },
);

/** Folders of benchmarks, registries and containerds in the sandbox. */
function leftOf(sandbox: Sandbox): string[] {
  return readdirSync(sandbox.directory).filter((name) => /^(siphon|sb)-/.test(name));
}

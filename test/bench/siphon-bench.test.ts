/** `siphon bench` on a small image of the test's own, with containerd as it comes and with siphon. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type BenchWords, bench } from '../../bench/main.js';
import { containerdMissing } from '../../bench/programs/containerd.js';
import { type BenchResult, type MeasuredRun, isMeasured } from '../../bench/harness/result.js';
import { siphonProgram } from '../../bench/programs/siphon-program.js';
import { type Sandbox, openSandbox, run } from '../support/sandbox.js';
import { buildShellImage, checkScript } from '../support/shell-image.js';

const missing = containerdMissing();

/** Matches what the container of {@link words} prints. */
const READY = '^low high gone';

/** Words of a benchmark of an image in the sandbox; what it finds is left there in files. */
async function words(
  { directory }: Sandbox,
  { ready = READY, rounds = 1 }: { ready?: string; rounds?: number },
  ...options: string[]
): Promise<string[]> {
  const { layout } = await buildShellImage(directory);
  const at = (name: string): string => join(directory, name);
  const how = ['--rounds', String(rounds), '--scenarios', 'starts', '--cache', at('cache')];
  const output = ['--output', at('result.json'), '--html', at('result.html')];
  const command = ['--', '/bin/sh', '-c', checkScript, '--ready', ready];
  return [
    siphonProgram,
    'bench',
    `oci:${layout}:latest`,
    ...how,
    ...output,
    ...options,
    ...command,
  ];
}

async function resultIn(sandbox: Sandbox): Promise<BenchResult> {
  return JSON.parse(await readFile(join(sandbox.directory, 'result.json'), 'utf8')) as BenchResult;
}

test.skipIf(missing !== undefined)(
  'a user’s image is pulled and started by everyone who can, and what they fetched is counted',
  { timeout: 90_000 },
  async () => {
    await using sandbox = await openSandbox();
    const everyone = ['--contestants', 'overlayfs', 'siphon-indexed', 'podman'];
    // One that fails at once, whatever it is asked for.
    const broken = ['podman', 'conmon', 'fuse-overlayfs'].map((name) => `${name}=/bin/false`);
    const all = await words(sandbox, {}, ...everyone, '--program', ...broken);
    const env = { ...process.env, TMPDIR: sandbox.directory };
    const { code, stderr } = await run(process.execPath, all, { env });
    expect(code, stderr).toBe(0);
    const { scenarios, images, unfinished } = await resultIn(sandbox);
    expect(unfinished).toBeUndefined();
    expect(scenarios.map(({ name }) => name)).toEqual(['cold-start', 'warm-start']);
    const failed = scenarios[0]?.rows.find(({ contestant }) => contestant === 'podman');
    expect(failed?.runs).toEqual([{ round: 1, errors: [expect.stringContaining('/bin/false')] }]);
    const [cold, warm] = scenarios.map(({ rows }) =>
      rows.slice(0, 2).map(({ runs }) => {
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
    const all = await words(sandbox, { ready: 'never printed' }, '--contestants', 'overlayfs');
    const { code, stderr } = await run(process.execPath, all, { env });
    expect(code).not.toBe(0);
    expect(stderr).toContain('Cannot measure anything');
    const { scenarios } = await resultIn(sandbox);
    const runs = scenarios.flatMap(({ rows }) => rows.flatMap((row) => row.runs));
    expect(runs.length).toBeGreaterThan(0);
    expect(runs.filter(isMeasured)).toEqual([]);
    expect(JSON.stringify(runs)).toContain('never printed');
  },
);

test.skipIf(missing !== undefined)(
  'Ctrl-C ends it: what was measured is there, and nothing is left running, mounted or stored but the cache',
  { timeout: 90_000 },
  async () => {
    await using sandbox = await openSandbox();
    const all = await words(sandbox, { rounds: 100 }, '--contestants', 'overlayfs');
    const child = spawn(process.execPath, all, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, TMPDIR: sandbox.directory },
    });
    const closed = once(child, 'close');
    let [said, shown] = ['', ''];
    let isInterrupted = false;
    child.stdout.setEncoding('utf8').on('data', (text: string) => (shown += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      if (isInterrupted || !said.includes('round 2')) return;
      isInterrupted = true;
      setTimeout(() => child.kill('SIGINT'), 300);
    });
    await closed;
    expect(child.exitCode, said).not.toBe(0);
    const { unfinished, scenarios } = await resultIn(sandbox);
    expect(unfinished).toBe('it was interrupted');
    expect(scenarios[0]?.rows[0]?.runs.filter(isMeasured).length).toBeGreaterThan(0);
    expect(shown).toContain('it was interrupted');
    expect(await readFile(join(sandbox.directory, 'result.html'), 'utf8')).toContain(
      'it was interrupted',
    );
    expect(await sandbox.mounts()).toEqual([]);
    expect(leftOf(sandbox)).toEqual([]);
    const { stdout } = await run('pgrep', ['--full', sandbox.directory]);
    expect(stdout).toBe('');
  },
);

test('a wrong word is told before anything is done', async () => {
  const { signal } = new AbortController();
  const right = { command: [], rounds: '1', timeout: '600', signal };
  const image = 'oci:/nowhere';
  const wrong: [Partial<BenchWords>, RegExp][] = [
    [{ image }, /nothing tells when it is ready, expected --ready/],
    [{ image, ready: '(' }, /Cannot use --ready "\(": .*[Uu]nterminated/],
    [{ image, command: ['sh', '--ready', '['] }, /Cannot use --ready "\["/],
    [{ image, ready: 'x', images: ['shell'] }, /expected either/],
    [{ ready: 'x' }, /there is no image, expected IMAGE/],
    [{ images: ['shel'] }, /image "shel": it is unknown, expected one of shell,/],
    [{ contestants: ['me'] }, /contestant "me": it is unknown, .* overlayfs,/],
    [{ scenarios: ['all'] }, /scenario "all": it is unknown, .* starts,/],
    [{ rounds: '0' }, /"0" rounds: expected a number from 1 on/],
    [{ timeout: 'x' }, /"x" seconds: expected a number from 1 on/],
    [{ program: ['podman'] }, /it names no path, expected NAME=PATH/],
    [{ program: ['podman=/nowhere'] }, /"\/nowhere": nothing to be run is there/],
  ];
  for (const [words, why] of wrong) {
    const error: unknown = await bench({ ...right, ...words }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'usage', message: expect.stringMatching(why) as unknown });
  }
});

/** Folders of benchmarks, registries and containerds in the sandbox. */
function leftOf(sandbox: Sandbox): string[] {
  return readdirSync(sandbox.directory).filter((name) => /^(siphon|sb)-/.test(name));
}

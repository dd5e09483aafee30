import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { compareSides } from '../../bench/harness/single-bench.js';
import { isMounted } from '../../src/common/mount-info.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const { signal } = new AbortController();

test('two sides take turns in who begins, and their ratio is of one round', async () => {
  const order: string[] = [];
  const times = { plain: [100, 200, 1000], siphon: [90, 100, 2000] };
  const compared = await compareSides(['plain', 'siphon'], { rounds: 3, signal }, (side) => {
    order.push(side);
    return Promise.resolve(times[side].shift() ?? 0);
  });
  expect(order).toEqual(['plain', 'siphon', 'siphon', 'plain', 'plain', 'siphon']);
  expect(compared.first).toMatchObject({ median: 200, least: 100, greatest: 1000 });
  expect(compared.ratio).toMatchObject({ median: 0.9, least: 0.5, greatest: 2 });
});

test('an interruption ends them before the next turn', async () => {
  const controller = new AbortController();
  let turns = 0;
  const options = { rounds: 5, signal: controller.signal };
  const running = compareSides(['plain', 'siphon'], options, () => {
    turns += 1;
    controller.abort(new Error('enough'));
    return Promise.resolve(1);
  });
  await expect(running).rejects.toThrow('enough');
  expect(turns).toBe(1);
});

const waiting = `
import { once } from 'node:events';
import { execFileSync } from 'node:child_process';
import { singleBench } from '#bench/harness/single-bench.js';
await singleBench(process.argv[1], async (folder, signal) => {
  execFileSync('mkdir', [folder + '/mount']);
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', folder + '/mount']);
  console.log(folder + '/mount');
  const timer = setInterval(() => {}, 1000);
  await once(signal, 'abort');
  clearInterval(timer);
  signal.throwIfAborted();
});`;

test.skipIf(process.getuid?.() !== 0)(
  'Ctrl-C ends a single benchmark, and leaves no folder and no mount',
  async () => {
    await using folder = await temporaryFolder();
    const words = ['--input-type=module', '-e', waiting, folder.path];
    const child = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'inherit'] });
    const exited = once(child, 'exit');
    const [said] = (await once(child.stdout, 'data')) as [Buffer];
    const mount = said.toString().trim();
    expect(await isMounted(mount)).toBe(true);
    child.kill('SIGINT');
    await exited;
    expect(child.exitCode).toBe(130);
    expect(await isMounted(mount)).toBe(false);
    expect(await readdir(folder.path)).toEqual([]);
  },
);

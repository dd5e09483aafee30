import { execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { measureReads } from '#bench/meters/read-meter.js';
import { temporaryFolder } from '../support/temporary-folder.js';

test('reads what is asked for, and says what it was', async () => {
  await using folder = await temporaryFolder();
  const [one, two] = [join(folder.path, 'one'), join(folder.path, 'two')];
  const [first, second] = [randomBytes(10_000), randomBytes(5000)];
  await writeFile(one, first);
  await writeFile(two, second);
  const { latencies, bytes, sha256 } = await measureReads([
    { path: one, offset: 4096, length: 4096 },
    { path: two, offset: 4096, length: 4096 },
    { path: one, offset: 0, length: 100 },
  ]);
  const expected = [first.subarray(4096, 8192), second.subarray(4096), first.subarray(0, 100)];
  expect(latencies).toHaveLength(3);
  expect(bytes).toBe(4096 + 904 + 100);
  expect(sha256).toBe(createHash('sha256').update(Buffer.concat(expected)).digest('hex'));
});

test('finds delays of a known length, each where it was', async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, 'pipe');
  execFileSync('mkfifo', [path]);
  const script = 'printf 1; sleep 0.1; printf 2; sleep 0.3; printf 3';
  spawn('sh', ['-c', `exec > "$0"; ${script}`, path], { stdio: 'ignore' });
  const { latencies, ms } = await measureReads(
    Array.from({ length: 3 }, () => ({ path, length: 1 })),
  );
  const [, second = 0, third = 0] = latencies;
  expect(second).toBeGreaterThan(95);
  expect(third).toBeGreaterThan(295);
  const sum = latencies.reduce((total, one) => total + one, 0);
  expect(ms).toBeGreaterThanOrEqual(sum);
  expect(ms).toBeLessThan(sum + 5000);
});

test('a file that is not there is an error', async () => {
  await expect(measureReads([{ path: '/nowhere', offset: 0, length: 1 }])).rejects.toThrow(
    'ENOENT',
  );
});

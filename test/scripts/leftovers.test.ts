import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { RUN_MARK, sweep } from '../../scripts/lib/leftovers.mjs';

it.skipIf(process.getuid?.() !== 0)('names, ends and removes what a run left', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'st-'));
  const mountPoint = join(folder, 'a folder');
  mkdirSync(mountPoint);
  expect(spawnSync('mount', ['-t', 'tmpfs', 'none', mountPoint]).status).toBe(0);
  const marked = spawn('sleep', ['600'], { env: { ...process.env, [RUN_MARK]: folder } });
  // It has no mark, but a mount table of its own in which the mount still is.
  const apart = spawn('unshare', ['--mount', 'env', '-i', '/bin/sleep', '601']);
  const left = await sweep(folder);
  expect(left).toContain(`mount left: tmpfs on ${mountPoint}`);
  expect(left).toContain(`process left: ${marked.pid} sleep 600`);
  expect(left).toContain(`process left: ${apart.pid} /bin/sleep 601`);
  expect(existsSync(folder)).toBe(false);
});

it('finds nothing after a run that cleaned up, and removes its folder', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'st-'));
  expect(await sweep(folder)).toEqual([]);
  expect(existsSync(folder)).toBe(false);
});

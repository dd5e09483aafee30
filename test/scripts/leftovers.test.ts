import { existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { sweep } from '../../scripts/lib/leftovers.mjs';
import { must } from '../support/sandbox.js';

const program = fileURLToPath(new URL('../support/leave-and-sweep.mjs', import.meta.url));

it.skipIf(process.getuid?.() !== 0)('names, ends and removes what a run left', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'st-'));
  const said = await must('unshare', '--mount', process.execPath, program, folder);
  const { left, mountPoint, marked, apart, ended } = JSON.parse(said) as {
    left: string[];
    mountPoint: string;
    marked: number;
    apart: number;
    ended: boolean;
  };
  expect(left).toHaveLength(3);
  expect(left).toContain(`mount left: tmpfs on ${mountPoint}`);
  expect(left).toContain(`process left: ${marked} sleep 600`);
  expect(left).toContain(`process left: ${apart} /bin/sleep 601`);
  expect(ended).toBe(true);
  expect(existsSync(folder)).toBe(false);
});

it('finds nothing after a run that cleaned up, and removes its folder', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'st-'));
  expect(await sweep(folder)).toEqual([]);
  expect(existsSync(folder)).toBe(false);
});

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { temporaryFolder } from '../support/temporary-folder.js';

const MAIN = fileURLToPath(new URL('../../dist/demo/main.js', import.meta.url));

it('Ctrl-C ends the demo while it builds its image, and its files go', async () => {
  await using folder = await temporaryFolder();
  const child = spawn(process.execPath, [MAIN], {
    env: { ...process.env, TMPDIR: folder.path },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = once(child, 'close');
  let complaint = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (complaint += text));
  await Promise.race([once(child.stdout, 'data'), ended]);
  await sleep(500);
  child.kill('SIGINT');
  expect(await ended).toEqual([130, null]);
  expect(complaint).toContain('everything is cleaned up');
  expect(await readdir(folder.path)).toEqual([]);
});

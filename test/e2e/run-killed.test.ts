/** SIGKILL for `siphon run` at random moments; SIPHON_KILLS says how many (a long run has 50). */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeContainerImage } from '../support/container-image.js';
import { type Sandbox, openSandbox } from '../support/sandbox.js';

const skip = process.getuid?.() !== 0;
const kills = Number(process.env['SIPHON_KILLS'] ?? 12);
/** At once: what one leaves is in the way of none of the others. */
const together = 4;

let sandbox: Sandbox;
let source: string;

beforeAll(async () => {
  if (skip) return;
  sandbox = await openSandbox();
  ({ source } = await writeContainerImage(sandbox.directory));
}, 60_000);

afterAll(() => sandbox?.[Symbol.asyncDispose]());

async function killedAfter(name: string, delay: number): Promise<void> {
  const args = ['bin/siphon', '--root', sandbox.root, 'run', '--name', name, source, 'sleep', '60'];
  const child = spawn(process.execPath, args, { stdio: 'ignore' });
  await sleep(delay);
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  // One that is killed while it looks into its own mount ends when rm has ended the mount.
  await Promise.race([ended, sleep(1000)]);
}

/** Command lines that name the root, but for those that are about to end. */
async function processesLeft(): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const lines = await Promise.all(
    pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '')),
  );
  return lines.filter((line) => line.includes(sandbox.root));
}

describe.skipIf(skip)('siphon run, killed: needs root', () => {
  it(
    `leaves what ps knows and rm removes, ${kills} times`,
    async () => {
      const began = Date.now();
      expect((await sandbox.siphon('run', '--rm', source, 'id', '-u')).stdout).toBe('0\n');
      const whole = Date.now() - began;
      for (let done = 0; done < kills; done += together) {
        const delays = Array.from({ length: together }, () => Math.random() * whole * 1.5);
        await Promise.all(delays.map((delay, at) => killedAfter(`k${done + at}`, delay)));
        const context = `killed after ${delays.map(Math.round).join(', ')} ms of ${whole}`;
        const { stdout } = await sandbox.siphon('ps', '--all', '--quiet');
        const names = stdout.split('\n').filter(Boolean);
        const removed = await sandbox.siphon('rm', '--force', 'none', ...names);
        expect(removed.stdout, `${context}: ${removed.stderr}`).toBe(
          names.map((name) => `${name}\n`).join(''),
        );
        expect(await sandbox.mounts(), context).toEqual([]);
        expect(await readdir(join(sandbox.root, 'run')), context).toEqual([]);
        for (let tries = 0; (await processesLeft()).length > 0; tries++) {
          expect(tries, `${context}: ${(await processesLeft()).join()}`).toBeLessThan(100);
          await sleep(50);
        }
      }
      const after = await sandbox.siphon('run', '--rm', source, 'id', '-u');
      expect(after.stdout, after.stderr).toBe('0\n');
    },
    30_000 + kills * 10_000,
  );
});

/**
 * Leaves a mount and two processes as a run of tests would, and sweeps them up. Prints what the sweep told, the
 * processes, and whether they have ended, as JSON. Arguments: the run's folder.
 *
 * To be started in a mount namespace of its own: programs that others start at the same time must not see the
 * mount, for they would be swept up, too.
 */

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { RUN_MARK, sweep } from '../../scripts/lib/leftovers.mjs';

const [folder = ''] = process.argv.slice(2);
const mountPoint = join(folder, 'a folder');
mkdirSync(mountPoint);
if (spawnSync('mount', ['-t', 'tmpfs', 'none', mountPoint]).status !== 0) process.exit(1);
const marked = spawn('sleep', ['600'], { env: { ...process.env, [RUN_MARK]: folder } });
// It has no mark, but a mount table of its own in which the mount still is.
const apart = spawn('unshare', ['--mount', 'env', '-i', '/bin/sleep', '601']);
const children = [marked, apart];
const exits = Promise.all(children.map((child) => once(child, 'exit')));
for (const { pid } of children)
  while (!readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('sleep\0')) await sleep(10);
const left = await sweep(folder, 500);
const ended = (await Promise.race([exits, sleep(10_000, undefined, { ref: false })])) !== undefined;
console.log(JSON.stringify({ left, mountPoint, marked: marked.pid, apart: apart.pid, ended }));
for (const child of children) child.kill('SIGKILL');

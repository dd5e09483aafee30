/**
 * Containers on a machine whose cgroups are all of version 2, which no process can choose: a kernel of
 * their own is booted for them, as a program (user-mode Linux) on this machine's files.
 */

import { execFile, execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeRootfs } from '../support/rootfs.js';
import { tool } from '../support/tools.js';

const run = promisify(execFile);
const runner = fileURLToPath(new URL('run-limited.mjs', import.meta.url));
const project = fileURLToPath(new URL('../..', import.meta.url));
const missing = ['linux.uml', 'runc', 'crun'].filter((name) => {
  try {
    execFileSync('which', [name]);
    return false;
  } catch {
    return true;
  }
});
const skip = process.getuid?.() !== 0 || missing.length > 0;

let top: string;

beforeAll(async () => {
  top = await mkdtemp(join(tmpdir(), 'siphon-cgroup-'));
  const programs = await Promise.all(['sh', 'cat'].map((name) => tool('which', name)));
  const paths = programs.map((path) => path.trim());
  await makeRootfs(join(top, 'rootfs'), paths);
});

afterAll(() => rm(top, { recursive: true, force: true }));

/** Runs a shell script as the first process of another kernel. @returns what it prints */
async function inOwnKernel(script: string): Promise<string> {
  const [init, output] = [join(top, 'init'), join(top, 'output')];
  const text = `#!/bin/sh
    export PATH=/usr/sbin:/usr/bin:/sbin:/bin
    exec >${output} 2>&1
    mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t tmpfs tmpfs /run
    mkdir /dev/pts /dev/shm /dev/mqueue; mount -t devpts devpts /dev/pts
    mount -t tmpfs tmpfs /dev/shm; mount -t mqueue mqueue /dev/mqueue
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    ${script}
    echo o >/proc/sysrq-trigger; sleep 10\n`;
  await writeFile(init, text, { mode: 0o755 });
  const machine = ['root=/dev/root', 'rootfstype=hostfs', 'rw', 'mem=600M', `init=${init}`];
  await run('timeout', ['100', 'linux.uml', ...machine, 'con=null', `uml_dir=${top}/`]);
  return readFile(output, 'utf8');
}

describe.skipIf(skip)(`cgroup v2 alone (needs root ${missing.join(', ')})`, () => {
  test('has the limits, tells whether memory ran out, and nothing is left of it', async () => {
    const scripts = [
      'cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max; exit 3',
      'x=aaaaaaaa; while :; do x=$x$x; done',
    ];
    const runs = ['runc', 'crun'].flatMap((runtime) =>
      scripts.map((script, number) => {
        const id = `${runtime}-${number}`;
        const [directory, rootfs] = [join('/run/containers', id), join(top, 'rootfs')];
        return { id, directory, rootfs, runtime, args: ['sh', '-c', script] };
      }),
    );
    await writeFile(join(top, 'runs'), JSON.stringify(runs));
    const text = await inOwnKernel(
      `cd ${project} && ${process.execPath} ${runner} ${join(top, 'runs')}
       find /sys/fs/cgroup -mindepth 1 -type d; ls /run/containers`,
    );
    const each = [
      `${16 * 1024 * 1024}`,
      '50000 100000',
      '{"exitCode":3,"outOfMemory":false}',
      '{"exitCode":137,"outOfMemory":true}',
    ];
    expect(text.split('\n')).toEqual([...each, ...each, '']);
  }, 120_000);
});

/** What containers print where it cannot be written: lost, it is told, by every command alike. */

import { spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeContainerImage } from '../support/container-image.js';
import { type Outcome, type Sandbox, must, openSandbox, run } from '../support/sandbox.js';

const skip = process.getuid?.() !== 0;

let sandbox: Sandbox;
let source: string;
/** A file system of 16 KiB. */
let small: string;

beforeAll(async () => {
  if (skip) return;
  sandbox = await openSandbox();
  ({ source } = await writeContainerImage(sandbox.directory));
  small = await sandbox.folder('small');
  await must('mount', '-t', 'tmpfs', '-o', 'size=16k', 'small', small);
  await sandbox.siphon('run', '-d', '--name', 'c', source, 'sleep', '1000');
}, 60_000);

afterAll(async () => {
  if (skip) return;
  await sandbox.siphon('rm', '--force', 'c');
  spawnSync('umount', [small]);
  await sandbox[Symbol.asyncDispose]();
});

/** Runs siphon by a shell, for its redirections; `IMAGE` stands for the image. */
function shell(line: string): Promise<Outcome> {
  const command = `${process.execPath} bin/siphon --root ${sandbox.root} ${line}`;
  return run('sh', ['-c', command.replace('IMAGE', source)]);
}

const commands = [
  ['run --rm', 'run --rm IMAGE'],
  ['run', 'run IMAGE'],
  ['exec', 'exec c'],
] as const;

describe.skipIf(skip)('output that is lost: needs root', () => {
  it.each(commands)('is told by %s, and no success', async (_, command) => {
    const out = await shell(`${command} sh -c 'echo x; exit 0' >/dev/full`);
    expect(out.code).toBe(125);
    expect(out.stderr).toMatch(
      /siphon: Cannot write what container "\S+" prints: ENOSPC: no space left on device, write\n$/,
    );
    const err = await shell(`${command} sh -c 'echo x; echo y >&2; exit 0' 2>/dev/full`);
    expect(err).toMatchObject({ code: 125, stdout: 'x\n' });
  });

  it.each(commands)('is told by %s where the disk has room for a part', async (_, command) => {
    const target = join(small, 'out');
    const print = 'printf %020000d 0';
    const out = await shell(`${command} sh -c '${print}' >${target}`);
    expect(out.code).toBe(125);
    expect(out.stderr).toContain('ENOSPC');
    await writeFile(target, '');
  });

  it.each(commands)('is none of %s where nothing was printed', async (_, command) => {
    expect(await shell(`${command} sh -c 'echo x; exit 5' 2>/dev/full`)).toMatchObject({
      code: 5,
      stdout: 'x\n',
    });
  });

  it('is told by logs where the disk has room for a part', async () => {
    await sandbox.siphon('run', '--name', 'l', source, 'sh', '-c', 'printf %020000d 0');
    const target = join(small, 'out');
    expect(await shell(`logs l >${target}`)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('ENOSPC') as string,
    });
    await writeFile(target, '');
  });

  it('goes into a file in the order in which it was written', async () => {
    const target = join(sandbox.directory, 'both');
    const script = 'i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done; echo end >&2';
    expect(await shell(`run --rm IMAGE sh -c '${script}' >>${target} 2>&1`)).toMatchObject({
      code: 0,
    });
    const numbers = Array.from({ length: 2000 }, (_, line) => `${line}\n`).join('');
    expect(await must('grep', '-v', '^[a-z]', target)).toBe(numbers);
    expect(await must('grep', '-c', '^end$', target)).toBe('1\n');
  });
});

describe.skipIf(skip)('what a runtime says of a failure: needs root', () => {
  it.each([
    ['run --rm', 'run --rm --ulimit nofile=1:9999999999 IMAGE id'],
    ['run', 'run --ulimit nofile=1:9999999999 IMAGE id'],
    ['run -d', 'run -d --ulimit nofile=1:9999999999 IMAGE id'],
    ['exec', 'exec -w /proc/none c id'],
  ])('is told once, by %s', async (_, command) => {
    const { code, stdout, stderr } = await shell(command);
    expect({ code, stdout }).toEqual({ code: 125, stdout: '' });
    expect(stderr.replace(/^sha256:.*\n/gm, '')).toMatch(/^siphon: Cannot [^\n]*\n$/);
  });
});

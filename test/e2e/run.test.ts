import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type DemoLayout, writeSmallLayout } from '../support/demo-layout.js';
import { type Sandbox, openSandbox } from '../support/sandbox.js';

let sandbox: Sandbox;
let image: DemoLayout;

beforeAll(async () => {
  sandbox = await openSandbox();
  image = await writeSmallLayout(sandbox);
}, 120_000);

afterAll(() => sandbox[Symbol.asyncDispose]());

async function nothingIsLeft(): Promise<void> {
  expect(await sandbox.mounts()).toEqual([]);
  expect(await readdir(join(sandbox.root, 'run'))).toEqual([]);
}

describe('siphon run --rm', () => {
  it("runs the image's own command and prints what it prints", async () => {
    const { code, stdout } = await sandbox.siphon('run', '--rm', image.source);
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'small files: 5\n' });
    await nothingIsLeft();
  });

  it('gives the exit code and both streams of another command', async () => {
    const script = 'echo out; echo err >&2; exit 37';
    const outcome = await sandbox.siphon('run', '--rm', image.source, 'sh', '-c', script);
    expect(outcome).toMatchObject({ code: 37, stdout: 'out\n' });
    expect(outcome.stderr).toContain('err\n');
    await nothingIsLeft();
  });

  it('hands options behind the source to the command', async () => {
    const { stdout } = await sandbox.siphon('run', '--rm', image.source, 'echo', '--name', '-t');
    expect(stdout).toBe('--name -t\n');
  });

  it('lets the container write, and keeps the image as it was', async () => {
    const change = 'echo changed > /app/licence.txt && echo new > /app/new && cat /app/licence.txt';
    const first = await sandbox.siphon('run', '--rm', image.source, 'sh', '-c', change);
    expect(first.stdout, first.stderr).toBe('changed\n');
    const check = 'cat /app/licence.txt; [ -e /app/new ] || echo gone';
    const second = await sandbox.siphon('run', '--rm', image.source, 'sh', '-c', check);
    expect(second.stdout).toBe('The same file under three names.\ngone\n');
  });

  it('merges layers: whiteouts and an opaque folder hide what is below', async () => {
    const script = 'ls /srv/site; [ -e /etc/old.conf ] || echo gone';
    const { stdout } = await sandbox.siphon('run', '--rm', image.source, 'sh', '-c', script);
    expect(stdout).toBe('index.html\ngone\n');
  });

  it('says that a command is not there, and exits with 127', async () => {
    const { code, stderr } = await sandbox.siphon('run', '--rm', image.source, 'no-such-command');
    expect(code).toBe(127);
    expect(stderr).toContain('no-such-command');
    await nothingIsLeft();
  });

  it('runs two containers of one image side by side', async () => {
    const both = await Promise.all(
      ['a', 'b'].map((word) => sandbox.siphon('run', '--rm', image.source, 'echo', word)),
    );
    expect(both.map(({ stdout }) => stdout)).toEqual(['a\n', 'b\n']);
    await nothingIsLeft();
  });
});

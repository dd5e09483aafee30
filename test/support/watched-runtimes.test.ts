import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { must } from './sandbox.js';
import { temporaryFolder } from './temporary-folder.js';
import { watchRuntimes } from './watched-runtimes.js';

test('watchRuntimes tells of every bundle that is run and does not follow the runtime-spec', async () => {
  await using runtimes = await watchRuntimes(() => Promise.resolve('/bin/echo'));
  const bundle = await mkdtemp(join(tmpdir(), 'siphon-bundle-'));
  try {
    await mkdir(join(bundle, 'rootfs'));
    await writeFile(join(bundle, 'config.json'), '{"ociVersion":"1.0.2","misspelt":1}');
    const runc = join(runtimes.folder, 'runc');
    expect(await must(runc, 'create', '--bundle', bundle, 'run')).toBe(
      `create --bundle ${bundle} run\n`,
    );
    expect(await runtimes.failures()).toEqual([]);
    expect(await must(runc, '--root', '/r', 'run', '--keep', '--bundle', bundle, 'a b')).toBe(
      `--root /r run --keep --bundle ${bundle} a b\n`,
    );
    expect(await runtimes.failures()).toEqual([expect.stringContaining('misspelt')]);
  } finally {
    await rm(bundle, { recursive: true });
  }
});

test('watchRuntimes does not judge what a runtime was killed at', async () => {
  await using runtimes = await watchRuntimes(() => Promise.resolve('/bin/echo'));
  await using bundle = await temporaryFolder();
  const config = join(bundle.path, 'config.json');
  await must('mkfifo', config);
  const child = spawn(join(runtimes.folder, 'runc'), ['run', '--bundle', bundle.path]);
  const ended = once(child, 'exit');
  await using _ = await open(config, 'w'); // once somebody copies it
  child.kill('SIGKILL');
  await ended;
  expect(await runtimes.failures()).toEqual([]);
});

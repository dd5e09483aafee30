import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { must } from './sandbox.js';
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

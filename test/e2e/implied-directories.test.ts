import { join } from 'node:path';
import { expect, it } from 'vitest';
import { buildLayout, dir, file, opaque, whiteout } from '../support/images.js';
import { must, openSandbox } from '../support/sandbox.js';
import { readTree } from '../support/tree.js';

it('gives a directory that a layer does not describe what a lower layer says of it', async () => {
  await using sandbox = await openSandbox();
  const layout = join(sandbox.directory, 'layout');
  await buildLayout(layout, {
    tag: 'latest',
    layers: [
      [
        dir('./', { mode: 0o750, uid: 7, mtime: 1_000_000_001.5 }),
        dir('a', { mode: 0o700, uid: 5, gid: 6, mtime: 1_000_000_000.25 }),
        dir('a/b', { mode: 0o1777, mtime: 1_100_000_000 }),
        dir('gone', { mode: 0o700 }),
        dir('fresh', { mode: 0o700 }),
        file('fresh/old', 'old'),
        file('top', 'x'),
      ],
      [file('a/b/c', 'c'), file('plain/file', 'p'), whiteout('gone'), opaque('fresh')],
      [dir('a', { mode: 0o711, uid: 9, mtime: 1_200_000_000 }), file('a/b/d', 'd')],
      [file('a/e', 'e')],
    ],
  });
  const bundle = join(sandbox.directory, 'bundle');
  await must('umoci', 'unpack', '--image', `${layout}:latest`, bundle);
  const expected = await readTree(join(bundle, 'rootfs'));
  const directory = await sandbox.folder('mnt');
  const mounted = await sandbox.siphon('mount', `oci:${layout}:latest`, directory);
  expect(mounted, mounted.stderr).toMatchObject({ code: 0 });
  const tree = await readTree(directory);
  await sandbox.siphon('umount', directory);
  // Directories that umoci makes or changes after the layer's own entry get the time of unpacking.
  for (const path of ['.', 'plain', 'fresh']) {
    expect(tree[path]).toMatchObject({ ...expected[path], mtime: expect.any(String) });
    delete tree[path];
    delete expected[path];
  }
  expect(tree).toEqual(expected);
});

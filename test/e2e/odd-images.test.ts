/** Images that are right but unusual, compared with what umoci unpacks. */

import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type TarEntry, buildLayout, dir, file, opaque, whiteout } from '../support/images.js';
import { must, openSandbox } from '../support/sandbox.js';
import { type Tree, readTree } from '../support/tree.js';

/** The image's tree as umoci unpacks it and as siphon shows it. */
async function bothTrees(layers: TarEntry[][]): Promise<{ expected: Tree; tree: Tree }> {
  await using sandbox = await openSandbox();
  const layout = join(sandbox.directory, 'layout');
  await buildLayout(layout, { tag: 'latest', layers });
  const bundle = join(sandbox.directory, 'bundle');
  await must('umoci', 'unpack', '--image', `${layout}:latest`, bundle);
  const expected = await readTree(join(bundle, 'rootfs'));
  const directory = await sandbox.folder('mnt');
  const mounted = await sandbox.siphon('mount', `oci:${layout}:latest`, directory);
  expect(mounted, mounted.stderr).toMatchObject({ code: 0 });
  const tree = await readTree(directory);
  expect(await sandbox.siphon('umount', directory)).toMatchObject({ code: 0 });
  return { expected, tree };
}

/** Leaves out the times of directories that umoci makes or changes by itself: the time of unpacking. */
function withoutTimesOf(paths: string[], tree: Tree): Tree {
  const timeless = paths.map((path) => [path, { ...tree[path], mtime: undefined }]);
  return { ...tree, ...(Object.fromEntries(timeless) as Tree) };
}

describe('siphon mount', () => {
  it('gives a directory that a layer does not describe what a lower layer says of it', async () => {
    const { expected, tree } = await bothTrees([
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
    ]);
    const made = ['.', 'plain', 'fresh'];
    expect(withoutTimesOf(made, tree)).toEqual(withoutTimesOf(made, expected));
  });

  it('takes the same layer twice, and empty layers', async () => {
    const twice = [dir('d'), file('d/same', 'same'), whiteout('d/below')];
    const { expected, tree } = await bothTrees([
      [dir('./'), dir('d'), file('d/below', 'b'), file('d/kept', 'k')],
      twice,
      [],
      [dir('d'), file('d/below', 'again'), file('d/same', 'other')],
      [],
      twice,
    ]);
    expect(withoutTimesOf(['.', 'd'], tree)).toEqual(withoutTimesOf(['.', 'd'], expected));
    expect(Object.keys(tree)).toEqual(['.', 'd', 'd/kept', 'd/same']);
  });

  it('lists no whiteouts that hide nothing, also of a single layer', async () => {
    const { tree } = await bothTrees([[dir('./'), dir('d'), whiteout('d/x'), whiteout('y')]]);
    expect(Object.keys(tree)).toEqual(['.', 'd']);
  });

  it('mounts 130 layers', async () => {
    const layers = Array.from({ length: 130 }, (_, n) => [
      dir('d'),
      file(`d/${n}`, String(n)),
      ...(n === 0 ? [] : [whiteout(`d/${n - 1}`)]),
    ]);
    const { expected, tree } = await bothTrees(layers);
    expect(withoutTimesOf(['.', 'd'], tree)).toEqual(withoutTimesOf(['.', 'd'], expected));
  }, 60_000);
});

import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { chainIds } from '#src/common/digest.js';
import {
  type Containerd,
  containerdMissing,
  startContainerd,
} from '../../bench/programs/containerd.js';
import { type Tree, readTree } from '../support/tree.js';
import { temporaryFolder, unpackBytes } from './support/unpacked.js';
import { type TrickyImage, writeTrickyImage } from './support/tricky-image.js';

const missing = containerdMissing();

describe.skipIf(missing !== undefined)(`overlay form: ${missing ?? 'containerd'}`, () => {
  it('is what containerd’s overlayfs snapshotter has, layer by layer', async () => {
    const folder = temporaryFolder();
    const image = await writeTrickyImage(folder);
    const containerd = await startContainerd();
    onTestFinished(() => containerd.close());
    await containerd.ctr(['images', 'import', '--no-unpack', image.archive]);
    await containerd.ctr(['snapshots', 'unpack', image.manifest]);
    const theirs = await snapshotFolders(containerd, image);
    const parents: string[] = [];
    for (const [n, { blob, diffId }] of image.layers.entries()) {
      const target = join(folder, `layer-${n}`);
      await unpackBytes(blob, { target, fresh: true, expected: { diffId }, parents });
      const snapshot = theirs[n] ?? '';
      const [ours, their] = await Promise.all([target, snapshot].map(readTree));
      expect(comparable(ours ?? {}, n)).toEqual(comparable(their ?? {}, n));
      expect(opaqueFolders(target)).toEqual(opaqueFolders(snapshot));
      parents.unshift(target);
    }
  }, 60_000);
});

/** Folder of each layer's snapshot, bottom first. */
async function snapshotFolders(containerd: Containerd, image: TrickyImage): Promise<string[]> {
  const top = chainIds(image.layers.map(({ diffId }) => diffId)).at(-1) ?? '';
  const { stdout } = await containerd.ctr(['snapshots', 'view', '--mounts', 'look', top]);
  const [mount] = JSON.parse(stdout) as { Options: string[] }[];
  const lower = mount?.Options.find((option) => option.startsWith('lowerdir=')) ?? '';
  return lower.slice('lowerdir='.length).split(':').toReversed();
}

/** Folders that a layer needs and does not list, by the layer's place. */
const UNLISTED: Record<number, string[]> = { 2: ['usr', 'usr/bin', 'deep', 'deep/er'] };

/**
 * Without what containerd leaves to chance: the time of whiteouts, which nobody sees, of the root, and of
 * folders that it copies up before it writes into them.
 */
function comparable(tree: Tree, n: number): Tree {
  const chance = new Set(['.', ...(UNLISTED[n] ?? [])]);
  return Object.fromEntries(
    Object.entries(tree).map(([path, entry]) => {
      const { mtime: _, ...rest } = entry;
      return [path, entry.device === '0' || chance.has(path) ? rest : entry];
    }),
  );
}

function opaqueFolders(folder: string): string {
  const args = ['-R', '-h', '-P', '-d', '-m', '^trusted.overlay.opaque$', '.'];
  return execFileSync('getfattr', args, { cwd: folder, encoding: 'utf8' });
}

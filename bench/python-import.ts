/**
 * How fast a container imports numpy, scipy and pandas, against native overlayfs.
 *
 *     npm run build && node dist/bench/python-import.js [--rounds N] [--cache DIR] [--folder DIR]
 *
 * The root file system is that of the benchmark's image `python`, made once and kept in the cache. Both sides are
 * an overlay with an upper folder of its own; below one lie the unpacked layers on this disk, below the other
 * those that siphon serves with every span present: the cache is the tar itself, so both read the same disk. That is measured
 * twice: without anything but FUSE folders, as when an image is first started, and in another overlay, as it is mounted once the
 * layers are here as a whole and siphon has kept the large files apart that the first start read. The sides
 * take turns, and in who begins; a ratio is of one round, and its median counts. `cold` is with the kernel's caches
 * dropped, but for the programs that begin it. What runs has namespaces and a root as a container has them. Needs root, 3 GB in the temporary folder, and a
 * machine that does nothing else; drops the machine's page cache.
 */

import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { parseArgs } from 'node:util';
import { createGunzip } from 'node:zlib';
import { mountOverlay } from '#src/layers/overlay-mount.js';
import { DEFAULT_CACHE } from './harness/cache-folder.js';
import { dropCaches } from './harness/caches.js';
import { printFigures } from './harness/figures.js';
import { type Compared, compareSides, singleBench, timed } from './harness/single-bench.js';
import { buildImage } from './images/build-image.js';
import { layerBlobs } from './images/layer-blobs.js';
import { python } from './images/python.js';
import { execute } from './programs/execute.js';
import { type PresentLayers, mountPresentLayers } from './programs/present-layer.js';

const command = ['/usr/bin/python3', '-c', 'import numpy, scipy, pandas'];
const namespaces = ['--fork', '--pid', '--mount', '--uts', '--ipc', '--net'];

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '15' },
    cache: { type: 'string', default: DEFAULT_CACHE },
    folder: { type: 'string', default: tmpdir() },
  },
});

await singleBench(values.folder, async (directory, signal) => {
  const tars = await layersOf(directory, signal);
  const layers = await mountPresentLayers(tars, directory);
  try {
    await measure({ tars, directory, layers, signal });
  } finally {
    await layers.session.unmount();
  }
});

/** The image's layers as tars, bottom first. */
async function layersOf(directory: string, signal: AbortSignal): Promise<string[]> {
  const onStep = (what: string): void => console.log(what);
  const layout = await buildImage(python, { cache: resolve(values.cache), signal, onStep });
  const tars: string[] = [];
  for (const [n, { path }] of (await layerBlobs(layout)).entries()) {
    const tar = join(directory, `layer-${n}.tar`);
    await pipeline(createReadStream(path), createGunzip(), createWriteStream(tar), { signal });
    tars.push(tar);
  }
  return tars;
}

interface Measurement {
  tars: readonly string[];
  directory: string;
  layers: PresentLayers;
  signal: AbortSignal;
}

async function measure({ tars, directory, layers, signal }: Measurement): Promise<void> {
  const plain: string[] = [];
  for (const [n, tar] of tars.entries()) {
    const folder = join(directory, `plain-${n}`);
    await mkdir(folder);
    await execute('tar', ['-C', folder, '--numeric-owner', '-xpf', tar], { signal });
    plain.unshift(folder);
  }
  const roots: string[] = [];
  const mount = async (name: string, lowerdirs: readonly string[]): Promise<string> => {
    const root = await mountContainer(join(directory, name), lowerdirs);
    roots.push(root);
    return root;
  };
  const compare = (first: string, second: string, when: string): Promise<void> =>
    compareImports({ native: first, siphon: second }, when, signal);
  try {
    const native = await mount('native', plain);
    const first = await mount('first', layers.lowerdirs());
    await importIn(first, signal);
    await layers.keepLargeFiles(signal);
    const second = await mount('second', layers.lowerdirs());
    await compare(native, first, ', first start');
    await compare(native, second, '');
    console.log(`requests: ${JSON.stringify(layers.session.stats().requests)}`);
  } finally {
    for (const root of roots) await execute('umount', [root]);
  }
}

function importIn(root: string, signal: AbortSignal): Promise<number> {
  return timed(() => execute('unshare', [...namespaces, 'chroot', root, ...command], { signal }));
}

async function compareImports(
  roots: Record<'native' | 'siphon', string>,
  which: string,
  signal: AbortSignal,
): Promise<void> {
  const options = { rounds: Number(values.rounds), signal };
  const sides = ['native', 'siphon'] as const;
  for (const side of sides) await importIn(roots[side], signal);
  const warm = await compareSides(sides, options, (side) => importIn(roots[side], signal));
  report(`warm${which}`, warm);
  const cold = await compareSides(sides, options, async (side) => {
    await dropCaches();
    await execute('unshare', [...namespaces, 'chroot', '/', '/bin/true'], { signal });
    return importIn(roots[side], signal);
  });
  report(`cold${which}`, cold);
}

/** An overlay as `siphon run` mounts it. @param lowerdirs topmost first @returns the merged root */
async function mountContainer(folder: string, lowerdirs: readonly string[]): Promise<string> {
  const at = (part: string): string => join(folder, part);
  for (const part of ['upper', 'work', 'root']) await mkdir(at(part), { recursive: true });
  const writable = { upperdir: at('upper'), workdir: at('work') };
  mountOverlay({ base: '/', lowerdirs, writable, target: at('root') });
  return at('root');
}

function report(when: string, { first, second, ratio }: Compared): void {
  const [native, siphon] = [first, second].map(({ median }) => median.toFixed(0));
  const spread = [ratio.least, ratio.greatest].map((one) => one.toFixed(2)).join('-');
  console.log(
    `import, ${when}: native ${native} ms, siphon ${siphon} ms, ratio ${ratio.median.toFixed(2)} (${spread})`,
  );
  printFigures({ [when]: ratio.median });
}

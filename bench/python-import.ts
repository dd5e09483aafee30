/**
 * How fast a container imports numpy, scipy and pandas, against native overlayfs.
 *
 *     npm run build && node dist/bench/python-import.js [--rounds N] [--cache DIR] [--folder DIR]
 *
 * The root file system is that of the benchmark's image `python`, made once and kept in the cache. Both sides are
 * an overlay with an upper folder of its own; below one lie the unpacked layers on this disk, below the other
 * those that siphon serves with every span present: the cache is the tar itself, so both read the same disk. The sides
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
import type { FuseSession } from '#src/fuse/fuse-session.js';
import { DEFAULT_CACHE } from './harness/cache-folder.js';
import { dropCaches } from './harness/caches.js';
import { printFigures } from './harness/figures.js';
import { type Compared, compareSides, singleBench, timed } from './harness/single-bench.js';
import { buildImage } from './images/build-image.js';
import { layerBlobs } from './images/layer-blobs.js';
import { python } from './images/python.js';
import { execute } from './programs/execute.js';
import { mountPresentLayers } from './programs/present-layer.js';

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
  const session = await mountPresentLayers(tars, directory);
  try {
    await measure({ tars, directory, session, signal });
  } finally {
    await session.unmount();
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
  session: FuseSession;
  signal: AbortSignal;
}

async function measure({ tars, directory, session, signal }: Measurement): Promise<void> {
  const plain: string[] = [];
  for (const [n, tar] of tars.entries()) {
    const folder = join(directory, `plain-${n}`);
    await mkdir(folder);
    await execute('tar', ['-C', folder, '--numeric-owner', '-xpf', tar], { signal });
    plain.push(folder);
  }
  const served = tars.map((_, n) => session.layerPath(n + 1));
  const roots = {
    native: await mountOverlay(join(directory, 'native'), plain),
    siphon: await mountOverlay(join(directory, 'siphon'), served),
  };
  const importIn = (side: keyof typeof roots): Promise<number> =>
    timed(() => execute('unshare', [...namespaces, 'chroot', roots[side], ...command], { signal }));
  try {
    const options = { rounds: Number(values.rounds), signal };
    for (const side of ['native', 'siphon'] as const) await importIn(side);
    report('warm', await compareSides(['native', 'siphon'], options, importIn));
    const cold = await compareSides(['native', 'siphon'], options, async (side) => {
      await dropCaches();
      await execute('unshare', [...namespaces, 'chroot', '/', '/bin/true'], { signal });
      return importIn(side);
    });
    report('cold', cold);
    console.log(`requests: ${JSON.stringify(session.stats().requests)}`);
  } finally {
    for (const root of Object.values(roots)) await execute('umount', [root]);
  }
}

/** @param layers bottom first @returns the merged root */
async function mountOverlay(folder: string, layers: readonly string[]): Promise<string> {
  const [upper, work, root] = ['upper', 'work', 'root'].map((part) => join(folder, part));
  for (const path of [upper, work, root]) await mkdir(path ?? '', { recursive: true });
  const lower = layers.toReversed().join(':');
  const options = `lowerdir=${lower},upperdir=${upper},workdir=${work},xino=on`;
  await execute('mount', ['-t', 'overlay', '-o', options, 'overlay', root ?? '']);
  return root ?? '';
}

function report(when: 'warm' | 'cold', { first, second, ratio }: Compared): void {
  const [native, siphon] = [first, second].map(({ median }) => median.toFixed(0));
  const spread = [ratio.least, ratio.greatest].map((one) => one.toFixed(2)).join('-');
  console.log(
    `import, ${when}: native ${native} ms, siphon ${siphon} ms, ratio ${ratio.median.toFixed(2)} (${spread})`,
  );
  printFigures({ [when]: ratio.median });
}

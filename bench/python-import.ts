/**
 * How fast a container imports numpy, scipy and pandas, against native overlayfs.
 *
 *     npm run build && node dist/bench/python-import.js [--rounds N] [--rootfs TAR] [--folder DIR]
 *
 * Both sides are an overlay with an upper folder of its own; below one lies the unpacked root file system
 * on this disk, below the other a layer of siphon with every span present: the cache is the tar itself, so
 * both read the same disk. The sides take turns, and in who begins; a ratio is of one round, and its median counts. `cold` is
 * with the kernel's caches dropped. What runs has namespaces and a root as a container has them. The
 * root file system is made of Debian packages by mmdebstrap, once, and kept at TAR. Needs root, 3 GB in the
 * temporary folder, and a machine that does nothing else; drops the machine's page cache.
 */

import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { FuseSession } from '#src/fuse/fuse-session.js';
import { LayerIndex } from '#src/index/layer-index.js';
import { printFigures } from './harness/figures.js';

const packages = 'python3-numpy,python3-scipy,python3-pandas';
const command = ['/usr/bin/python3', '-c', 'import numpy, scipy, pandas'];

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '15' },
    rootfs: { type: 'string', default: join(tmpdir(), 'siphon-bench-python', 'rootfs.tar') },
    folder: { type: 'string', default: tmpdir() },
  },
});

/** The same for native overlayfs and for siphon. */
interface Sides<T> {
  native: T;
  siphon: T;
}

const run = promisify(execFile);
const tar = resolve(values.rootfs);
if (!existsSync(tar)) makeRootfs();
const directory = mkdtempSync(join(values.folder, 'siphon-measure-'));
try {
  const session = await mountLayer();
  try {
    await measure(session);
  } finally {
    await session.unmount();
  }
} finally {
  rmSync(directory, { recursive: true });
}

function makeRootfs(): void {
  mkdirSync(dirname(tar), { recursive: true });
  const options = ['--variant=minbase', `--include=${packages}`, '--format=tar', 'bookworm'];
  execFileSync('mmdebstrap', [...options, `${tar}.part`], { stdio: 'inherit' });
  renameSync(`${tar}.part`, tar);
}

async function measure(session: FuseSession): Promise<void> {
  const plain = join(directory, 'plain');
  mkdirSync(plain);
  execFileSync('tar', ['-C', plain, '--numeric-owner', '-xpf', tar]);
  const roots = {
    native: mountOverlay('native', plain),
    siphon: mountOverlay('siphon', session.layerPath(1)),
  };
  try {
    for (const when of ['warm', 'cold'] as const) report(when, await compare(when, roots));
    console.log(`requests: ${JSON.stringify(session.stats().requests)}`);
  } finally {
    for (const root of [roots.native, roots.siphon]) execFileSync('umount', [root]);
  }
}

/** A layer like any other, with its index; the bytes are present. */
async function mountLayer(): Promise<FuseSession> {
  const indexPath = join(directory, 'index.db');
  // In a process of its own: what indexing takes is not what serving takes.
  const build = `
    import('#src/index/build-index.js').then(({ buildIndex }) =>
      buildIndex(require('node:fs').createReadStream(process.argv[1]), { output: process.argv[2] }));`;
  execFileSync(process.execPath, ['-e', build, tar, indexPath]);
  using index = LayerIndex.open(indexPath);
  const presence = new SharedArrayBuffer(index.info.spanCount);
  new Uint8Array(presence).fill(1);
  const mountPoint = join(directory, 'mnt');
  mkdirSync(mountPoint);
  const session = await FuseSession.mount({
    mountPoint,
    fetch: () => Promise.reject(new Error('everything is present')),
  });
  session.addLayer({ number: 1, indexPath, cachePath: tar, presence });
  return session;
}

function mountOverlay(name: string, lower: string): string {
  const at = (part: string): string => join(directory, `${name}-${part}`);
  for (const part of ['upper', 'work', 'root']) mkdirSync(at(part));
  const options = `lowerdir=${lower},upperdir=${at('upper')},workdir=${at('work')},xino=on`;
  execFileSync('mount', ['-t', 'overlay', '-o', options, 'overlay', at('root')]);
  return at('root');
}

async function compare(when: 'warm' | 'cold', roots: Sides<string>): Promise<Sides<number>[]> {
  const rounds: Sides<number>[] = [];
  if (when === 'warm') for (const root of [roots.native, roots.siphon]) await importIn(root);
  for (let round = 0; round < Number(values.rounds); round += 1) {
    const times = { native: 0, siphon: 0 };
    // Whoever comes second may find the machine as the first left it.
    const order =
      round % 2 === 0 ? (['native', 'siphon'] as const) : (['siphon', 'native'] as const);
    for (const side of order) {
      if (when === 'cold') dropCaches();
      times[side] = await importIn(roots[side]);
    }
    rounds.push(times);
  }
  return rounds;
}

/** Milliseconds until the process has imported everything and ended. */
async function importIn(root: string): Promise<number> {
  const start = performance.now();
  const namespaces = ['--fork', '--pid', '--mount', '--uts', '--ipc', '--net'];
  await run('unshare', [...namespaces, 'chroot', root, ...command]);
  return performance.now() - start;
}

function dropCaches(): void {
  execFileSync('sync');
  writeFileSync('/proc/sys/vm/drop_caches', '3');
}

function report(when: string, rounds: readonly Sides<number>[]): void {
  const of = (pick: (round: Sides<number>) => number): number => median(rounds.map(pick));
  const native = of((round) => round.native).toFixed(0);
  const siphon = of((round) => round.siphon).toFixed(0);
  const ratio = of((round) => round.siphon / round.native).toFixed(2);
  console.log(`import, ${when}: native ${native} ms, siphon ${siphon} ms, ratio ${ratio}`);
  printFigures({ [when]: of((round) => round.siphon / round.native) });
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0;
}

/**
 * How fast the mount is, against the same files in a plain folder.
 *
 *     npx tsc -p tsconfig.tools.json && node dist/bench/fuse-mount.js [--rounds N] [--workers N] [--read-ahead KB] [--only WORDS] [--folder DIR]
 *
 * Packs a folder of 40,400 entries and one large file, indexes it, and mounts it with every span
 * present: the cache is the tar itself, so both sides read the same disk. The sides take turns; each
 * figure is the least of all rounds, in ms. Beside them: how many requests the server answered in the last round, and the
 * least processor time that its threads took. Needs root, 2 GB in the temporary folder, a built `dist`,
 * and a machine that does nothing else. It drops the machine's page cache.
 */

import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { FuseSession } from '#src/fuse/fuse-session.js';
import { LayerIndex } from '#src/index/layer-index.js';
import { printFigures } from './harness/figures.js';

const folders = 400;
const filesPerFolder = 100;
const fileSize = 4096;
const largeMebibytes = 256;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    workers: { type: 'string' },
    'read-ahead': { type: 'string' },
    folder: { type: 'string', default: tmpdir() },
    only: { type: 'string', default: '' },
  },
});

interface Work {
  name: string;
  cold: boolean;
  script: string;
}

/** What the server did for one round of work. */
interface Effort {
  requests: number;
  /** Processor time of the workers, in ms. */
  processor: number;
}

/** The same for the plain folder and for the mount. */
interface Sides<T> {
  plain: T;
  siphon: T;
}

/** What is measured, on the tree's root; `cold`: after dropping the kernel's caches. */
const works: Work[] = [
  { name: 'find -printf, cold', cold: true, script: `find "$1" -printf '%p %s %m %T@\\n'` },
  { name: 'find -printf, again', cold: false, script: `find "$1" -printf '%p %s %m %T@\\n'` },
  { name: '5,000 files of 4 KiB, cold', cold: true, script: `cat "$1"/[0-4]?/*` },
  { name: '5,000 files of 4 KiB, again', cold: false, script: `cat "$1"/[0-4]?/*` },
  { name: `${largeMebibytes} MiB in order, cold`, cold: true, script: 'cat "$1/large"' },
  { name: `${largeMebibytes} MiB in order, again`, cold: false, script: 'cat "$1/large"' },
];

const run = promisify(execFile);
const directory = mkdtempSync(join(values.folder, 'siphon-measure-'));
try {
  await measure();
} finally {
  rmSync(directory, { recursive: true });
}

async function measure(): Promise<void> {
  const plain = join(directory, 'plain');
  fill(plain);
  const tar = join(directory, 'layer.tar');
  execFileSync('tar', ['-C', plain, '-cf', tar, '.']);
  const session = await mount(tar);
  try {
    const sides = { plain, siphon: session.layerPath(1) };
    for (const work of works.filter(({ name }) => name.includes(values.only))) {
      const found = await compare(work, sides, session);
      report(work, found);
      printFigures({ [work.name]: found.siphon / found.plain });
    }
    console.log(`resident: ${Math.round(process.memoryUsage.rss() / 2 ** 20)} MiB`);
  } finally {
    await session.unmount();
  }
}

function fill(root: string): void {
  for (let folder = 0; folder < folders; folder += 1) {
    const path = join(root, String(folder).padStart(2, '0'));
    mkdirSync(path, { recursive: true });
    for (let file = 0; file < filesPerFolder; file += 1) {
      writeFileSync(join(path, `module-${file}.py`), randomBytes(fileSize));
    }
  }
  const large = Array.from({ length: largeMebibytes }, () => randomBytes(2 ** 20));
  writeFileSync(join(root, 'large'), Buffer.concat(large));
}

async function mount(tar: string): Promise<FuseSession> {
  const indexPath = `${tar}.index`;
  // In a process of its own: what indexing takes is not what serving takes.
  const build = `
    import('#src/index/build-index.js').then(({ buildIndex }) =>
      buildIndex(require('node:fs').createReadStream(process.argv[1]), { output: process.argv[2] }));`;
  execFileSync(process.execPath, ['-e', build, tar, indexPath]);
  const index = LayerIndex.open(indexPath);
  const presence = new SharedArrayBuffer(index.info.spanCount);
  new Uint8Array(presence).fill(1);
  index.close();
  const mountPoint = join(directory, 'mnt');
  mkdirSync(mountPoint);
  const session = await FuseSession.mount({
    mountPoint,
    fetch: () => Promise.reject(new Error('everything is present')),
    ...(values.workers === undefined ? {} : { workers: Number(values.workers) }),
    ...(values['read-ahead'] === undefined ? {} : { readAheadKb: Number(values['read-ahead']) }),
  });
  session.addLayer({ number: 1, indexPath, cachePath: tar, presence });
  return session;
}

async function compare(
  work: Work,
  sides: Sides<string>,
  session: FuseSession,
): Promise<Sides<number> & Effort> {
  const best = { plain: Infinity, siphon: Infinity, requests: 0, processor: Infinity };
  for (let round = 0; round < Number(values.rounds); round += 1) {
    for (const side of ['plain', 'siphon'] as const) {
      const root = sides[side];
      if (work.cold) dropCaches();
      else await time(work.script, root);
      const before = effortOf(session);
      best[side] = Math.min(best[side], await time(work.script, root));
      if (side === 'plain') continue;
      const after = effortOf(session);
      best.requests = after.requests - before.requests;
      best.processor = Math.min(best.processor, after.processor - before.processor);
    }
  }
  return best;
}

function effortOf(session: FuseSession): Effort {
  const { requests } = session.stats();
  // What the kernel forgets is told in batches at any time, and nobody waits for it.
  const { forget: _, batch_forget: __, ...answered } = requests;
  return {
    requests: Object.values(answered).reduce((sum, count) => sum + count, 0),
    processor: threadTimes(),
  };
}

/** Milliseconds that all threads of this process but the main one have run. */
function threadTimes(): number {
  return readdirSync('/proc/self/task')
    .filter((thread) => thread !== String(process.pid))
    .map((thread) => readFileSync(`/proc/self/task/${thread}/schedstat`, 'utf8').split(' ')[0])
    .reduce((sum, nanoseconds) => sum + Number(nanoseconds) / 1e6, 0);
}

function dropCaches(): void {
  execFileSync('sync');
  writeFileSync('/proc/sys/vm/drop_caches', '3');
}

/** Milliseconds that `script` takes, its output thrown away. */
async function time(script: string, root: string): Promise<number> {
  const start = performance.now();
  await run('bash', ['-ec', `{ ${script}; } > /dev/null`, 'work', root]);
  return performance.now() - start;
}

function report({ name }: Work, of: Sides<number> & Effort): void {
  const shown = (ms: number): string => ms.toFixed(0).padStart(5);
  const ratio = (of.siphon / of.plain).toFixed(2);
  console.log(
    `${name.padEnd(27)} plain ${shown(of.plain)}  siphon ${shown(of.siphon)}  ratio ${ratio}` +
      `  requests ${String(of.requests).padStart(5)}  processor ${shown(of.processor)}`,
  );
}

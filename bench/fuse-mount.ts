/**
 * How fast the mount is, against the same files in a plain folder.
 *
 *     npm run build && node dist/bench/fuse-mount.js [--rounds N] [--workers N] [--read-ahead KB] [--only WORDS] [--folder DIR]
 *
 * Packs a folder of 40,400 entries and one large file, indexes it, and mounts it with every span
 * present: the cache is the tar itself, so both sides read the same disk. Names and small files are read in the layer's FUSE folder.
 * The large file is read there, as by what is mounted before the layer is here as a whole (`first start`), and in an overlay as
 * `siphon mount` makes it of the layer afterwards, when siphon has kept the large files apart that were read: by the same code, of the
 * tar in place of a blob. The sides take turns; each
 * figure is the median of all rounds, in ms, and so is the ratio of a round. Beside them: how many requests the server
 * answered in a round, and the processor time that its threads took, at least. Cold are the files, not the programs that
 * read them: those run once before, on a few files in memory. Needs root, 2 GB in the temporary folder,
 * and a machine that does nothing else. It drops the machine's page cache.
 */

import { randomBytes } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { FuseSession } from '#src/fuse/fuse-session.js';
import { mountOverlay } from '#src/layers/overlay-mount.js';
import { dropCaches } from './harness/caches.js';
import { printFigures } from './harness/figures.js';
import { type Compared, compareSides, singleBench, timed } from './harness/single-bench.js';
import { execute } from './programs/execute.js';
import { mountPresentLayers } from './programs/present-layer.js';

const all: Amount = { folders: 400, filesPerFolder: 100, large: 256 };
const fileSize = 4096;

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
  /** Where siphon's side is read: in the FUSE folder itself, or in an overlay of siphon's, with what it has kept apart by then. */
  siphon: 'folder' | 'overlay';
}

/** What the server did for one round of work. */
interface Effort {
  requests: number;
  /** Processor time of the workers, in ms. */
  processor: number;
}

/** What is measured, on the tree's root; `cold`: after dropping the kernel's caches. */
const find = `find "$1" -printf '%p %s %m %T@\\n'`;
const small = 'cat "$1"/[0-4]?/*';
const large = 'cat "$1/large"';
const works: Work[] = [
  { name: 'find -printf, cold', cold: true, script: find, siphon: 'folder' },
  { name: 'find -printf, again', cold: false, script: find, siphon: 'folder' },
  { name: '5,000 files of 4 KiB, cold', cold: true, script: small, siphon: 'folder' },
  { name: '5,000 files of 4 KiB, again', cold: false, script: small, siphon: 'folder' },
  ...[true, false].flatMap((cold): Work[] => {
    const name = `${all.large} MiB in order, ${cold ? 'cold' : 'again'}`;
    return [
      { name: `${name}, first start`, cold, script: large, siphon: 'folder' },
      { name, cold, script: large, siphon: 'overlay' },
    ];
  }),
];

await singleBench(values.folder, async (directory, signal) => {
  const plain = join(directory, 'plain');
  await fill(plain, all);
  const tar = join(directory, 'layer.tar');
  await execute('tar', ['-C', plain, '-cf', tar, '.'], { signal });
  const layers = await mountPresentLayers([tar], directory, {
    ...(values.workers === undefined ? {} : { workers: Number(values.workers) }),
    ...(values['read-ahead'] === undefined ? {} : { readAheadKb: Number(values['read-ahead']) }),
  });
  const { session } = layers;
  const few = join(directory, 'few');
  const overlay = join(directory, 'overlay');
  for (const path of [few, overlay]) await mkdir(path);
  await execute('mount', ['-t', 'tmpfs', 'few', few]);
  try {
    await fill(few, { folders: 1, filesPerFolder: 1, large: 1 });
    await execute('sh', [
      '-c',
      'cat "$1" > /dev/null',
      'read',
      join(session.layerPath(1), 'large'),
    ]);
    await layers.keepLargeFiles(signal);
    mountOverlay({ base: '/', lowerdirs: layers.lowerdirs(), target: overlay });
    const siphon = { folder: session.layerPath(1), overlay };
    for (const work of works.filter(({ name }) => name.includes(values.only)))
      await compare(work, { plain, few, siphon, session, signal });
    console.log(`resident: ${Math.round(process.memoryUsage.rss() / 2 ** 20)} MiB`);
  } finally {
    await execute('umount', [few, overlay]);
    await session.unmount();
  }
});

/** How many of what; `large` in MiB. */
interface Amount {
  folders: number;
  filesPerFolder: number;
  large: number;
}

async function fill(root: string, { folders, filesPerFolder, large }: Amount): Promise<void> {
  for (let folder = 0; folder < folders; folder += 1) {
    const path = join(root, String(folder).padStart(2, '0'));
    await mkdir(path, { recursive: true });
    const names = Array.from({ length: filesPerFolder }, (_, file) => `module-${file}.py`);
    await Promise.all(names.map((name) => writeFile(join(path, name), randomBytes(fileSize))));
  }
  const pieces = Array.from({ length: large }, () => randomBytes(2 ** 20));
  await writeFile(join(root, 'large'), Buffer.concat(pieces));
}

interface Sides {
  plain: string;
  /** A tree alike, of a few files that stay in memory. */
  few: string;
  siphon: Record<Work['siphon'], string>;
  session: FuseSession;
  signal: AbortSignal;
}

async function compare(work: Work, sides: Sides): Promise<void> {
  const { plain, few, session, signal } = sides;
  const roots = { plain, siphon: sides.siphon[work.siphon] };
  const effort: Effort = { requests: Infinity, processor: Infinity };
  const script = ['-ec', `{ ${work.script}; } > /dev/null`, 'work'];
  const runOn = (root: string): Promise<string> => execute('bash', [...script, root], { signal });
  const options = { rounds: Number(values.rounds), signal };
  const found = await compareSides(['plain', 'siphon'], options, async (side) => {
    if (work.cold) await dropCaches();
    await runOn(work.cold ? few : roots[side]);
    const before = effortOf(session);
    const ms = await timed(() => runOn(roots[side]));
    if (side === 'siphon') {
      const after = effortOf(session);
      effort.requests = Math.min(effort.requests, after.requests - before.requests);
      effort.processor = Math.min(effort.processor, after.processor - before.processor);
    }
    return ms;
  });
  report(work, found, effort);
  const { name } = work;
  printFigures({ [name]: found.ratio.median, [`${name}, requests`]: effort.requests });
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

function report({ name }: Work, { first, second, ratio }: Compared, effort: Effort): void {
  const ms = (time: number): string => time.toFixed(0).padStart(5);
  const spread = [ratio.least, ratio.greatest].map((one) => one.toFixed(2)).join('-');
  console.log(
    `${name.padEnd(39)} plain ${ms(first.median)}  siphon ${ms(second.median)}  ratio ${ratio.median.toFixed(2)} (${spread})` +
      `  requests ${String(effort.requests).padStart(5)}  processor ${ms(effort.processor)}`,
  );
}

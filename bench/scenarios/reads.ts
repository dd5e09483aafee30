/**
 * What reading one layer's files costs: a walk through all of them, a large file in order, and single reads here and
 * there. Each side's bytes are compared with the unpacked folder's, so that nobody is fast by being wrong.
 */

import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { execute } from '../programs/execute.js';
import { MOUNT_CONTESTANTS, type MountContestant, type OpenMount } from '../contestants/mounts.js';
import type { Bench } from '../harness/bench.js';
import { dropCaches } from '../harness/caches.js';
import type { LayoutImage } from '../harness/command-contestant.js';
import type {
  Amount,
  Contestant,
  FailedRun,
  MeasuredRun,
  ScenarioResult,
} from '../harness/result.js';
import { orAborted } from '../harness/or-aborted.js';
import { takeTurns, validRun } from '../harness/rounds.js';
import { type ReadPlace, measureReads } from '../meters/read-meter.js';
import { type ProcessGroup, openProcessGroup } from '../meters/process-group.js';
import { withProcessMeter } from '../harness/with-process-meter.js';

const MIB = 1 << 20;
const RANDOM_READS = 200;
const RANDOM_LENGTH = 4096;

const PARTS = [
  {
    name: 'walk',
    title: 'Metadata walk',
    description:
      '`find` over the whole layer, with attributes, right after it was mounted; the kernel’s caches are dropped.',
  },
  { name: 'walk-again', title: 'Metadata walk, again', description: 'The same once more.' },
  {
    name: 'sequential',
    title: 'Reading in order',
    description:
      'The layer’s largest file from beginning to end, for the first time, by 1 MiB; the kernel’s caches are dropped.',
  },
  {
    name: 'sequential-again',
    title: 'Reading in order, again',
    description: 'The same once more, with the kernel’s caches dropped.',
  },
  {
    name: 'random',
    title: 'Reading here and there',
    description: `${RANDOM_READS} reads of 4 KiB in files that nobody has read before, the same ones for everyone; the kernel’s caches are dropped.`,
  },
] as const;

type Part = (typeof PARTS)[number]['name'];

/** What was read, to be the same everywhere. */
interface Evidence {
  entries: number;
  sequential: string;
  random: string;
}

interface Plan {
  /** Relative to the mount. */
  largest: string;
  size: number;
  random: readonly ReadPlace[];
}

/** @returns a result for each kind of reading, and who took part */
export async function measureReading(
  bench: Bench,
  { image, rounds }: { image: LayoutImage; rounds: number },
): Promise<{ results: ScenarioResult[]; contestants: Contestant[] }> {
  const layer = await largestBlob(image);
  const contestants = await Promise.all(
    MOUNT_CONTESTANTS.map(async (one): Promise<Contestant> => ({
      name: one.name,
      title: one.title,
      versions: {},
      ...(await one.find(bench.programs)),
    })),
  );
  const present = MOUNT_CONTESTANTS.filter((_, n) => contestants[n]?.skipped === undefined);
  const known: { plan?: Plan; evidence?: Evidence } = {};
  const { signal, progress } = bench;
  const all = await takeTurns(present, { rounds, signal }, (contestant, round) => {
    progress.step(`${image.name}, reading: ${contestant.title}, round ${round} of ${rounds}`);
    return withMount(bench, contestant, { layer, round, known });
  });
  const results = PARTS.map((part) => ({
    ...part,
    image: image.name,
    ...amountOf(part.name, known),
    baseline: 'folder',
    rows: MOUNT_CONTESTANTS.map((one, n) => ({
      contestant: one.name,
      ...(contestants[n]?.skipped === undefined ? {} : { skipped: contestants[n].skipped }),
      runs: (all.get(one) ?? []).flatMap((runs) =>
        'errors' in runs ? runs : (runs[part.name] ?? []),
      ),
    })),
  }));
  return { results, contestants };
}

function amountOf(
  part: Part,
  { plan, evidence }: { plan?: Plan; evidence?: Evidence },
): { amount?: Amount } {
  if (plan === undefined || evidence === undefined) return {};
  if (part.startsWith('walk')) return { amount: { count: evidence.entries, unit: 'entries' } };
  if (part === 'random') return { amount: { count: plan.random.length, unit: 'reads' } };
  return { amount: { count: plan.size, unit: 'bytes' } };
}

interface MountRound {
  layer: string;
  round: number;
  /** Filled by the first one, which is the unpacked folder. */
  known: { plan?: Plan; evidence?: Evidence };
}

async function withMount(
  bench: Bench,
  contestant: MountContestant,
  { layer, round, known }: MountRound,
): Promise<Record<Part, MeasuredRun | FailedRun>> {
  await using group = await openProcessGroup();
  const folder = await mkdtemp(join(bench.folder, 'c-'));
  try {
    const place = { folder, enter: ['setsid', ...group.enter], signal: bench.signal };
    await using mount: OpenMount = await contestant.open(layer, place, bench.programs);
    known.plan ??= await makePlan(mount.path);
    return await orAborted(
      readAll(mount.path, { group, round, plan: known.plan, known }),
      bench.signal,
    );
  } finally {
    await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  }
}

interface Reading {
  group: ProcessGroup;
  round: number;
  plan: Plan;
  known: { evidence?: Evidence };
}

async function readAll(
  path: string,
  { group, round, plan, known }: Reading,
): Promise<Record<Part, MeasuredRun | FailedRun>> {
  const measured = async <T>(drop: boolean, work: () => Promise<T>): Promise<[MeasuredRun, T]> => {
    if (drop) await dropCaches();
    const { value, processes } = await withProcessMeter(group, async () => {
      const begin = performance.now();
      const result = await work();
      return { result, ms: performance.now() - begin };
    });
    return [{ round, ms: value.ms, processes }, value.result];
  };
  const walk = (): Promise<string> => execute('find', [path, '-printf', '%s %m %T@\\n']);
  const sequence = inOrder(join(path, plan.largest), plan.size);
  const places = plan.random.map((place) => ({ ...place, path: join(path, place.path) }));
  const [walked, list] = await measured(true, walk);
  const [again] = await measured(false, walk);
  const [random, reads] = await measured(true, () => measureReads(places));
  const [sequential, bytes] = await measured(true, () => measureReads(sequence));
  const [sequentialAgain] = await measured(true, () => measureReads(sequence));
  const entries = list.split('\n').length - 1;
  const evidence = { entries, sequential: bytes.sha256, random: reads.sha256 };
  known.evidence ??= evidence;
  const wrong = differences(evidence, known.evidence);
  return {
    walk: validRun(walked, wrong),
    'walk-again': validRun(again, wrong),
    random: validRun({ ...random, latencies: reads.latencies }, wrong),
    sequential: validRun(sequential, wrong),
    'sequential-again': validRun(sequentialAgain, wrong),
  };
}

function differences(found: Evidence, expected: Evidence): string[] {
  return (['entries', 'sequential', 'random'] as const)
    .filter((what) => found[what] !== expected[what])
    .map((what) => `${what}: ${found[what]}, expected ${expected[what]}`);
}

function inOrder(path: string, size: number): ReadPlace[] {
  return Array.from({ length: Math.ceil(size / MIB) }, (_, n) => ({
    path,
    offset: n * MIB,
    length: Math.min(MIB, size - n * MIB),
  }));
}

/** The largest file, and places in others of some size, spread over all of them and the same each time. */
async function makePlan(root: string): Promise<Plan> {
  const files: { path: string; size: number }[] = [];
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const full = join(entry.parentPath, entry.name);
    files.push({ path: full.slice(root.length + 1), size: (await stat(full)).size });
  }
  files.sort((a, b) => b.size - a.size || (a.path < b.path ? -1 : 1));
  const [largest, ...others] = files;
  if (largest === undefined) throw new Error('Cannot read a layer without files');
  const large = others.filter(({ size }) => size >= 2 * RANDOM_LENGTH);
  const random = Array.from({ length: Math.min(RANDOM_READS, large.length) }, (_, n) => {
    const file = large[(n * 7919) % large.length] ?? largest;
    const blocks = Math.floor(file.size / RANDOM_LENGTH);
    return {
      path: file.path,
      offset: ((n * 104_729) % blocks) * RANDOM_LENGTH,
      length: RANDOM_LENGTH,
    };
  });
  return { largest: largest.path, size: largest.size, random };
}

async function largestBlob({ blobs }: LayoutImage): Promise<string> {
  const sizes = await Promise.all(blobs.map(async (path) => (await stat(path)).size));
  const path = blobs[sizes.indexOf(Math.max(...sizes))];
  if (path === undefined) throw new Error('Cannot read an image without layers');
  return path;
}

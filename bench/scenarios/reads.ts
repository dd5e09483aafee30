/**
 * What reading one layer's files costs: a walk through all of them, a large file in order, and single reads here and
 * there. Each side's bytes are compared with the unpacked folder's, so that nobody is fast by being wrong.
 */

import { mkdtemp, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { errorMessage } from '#src/common/errors.js';
import { untilAborted } from '#src/common/until-aborted.js';
import { execute } from '../programs/execute.js';
import { removePlace } from '../programs/remove-place.js';
import { MOUNT_CONTESTANTS, type MountContestant, type OpenMount } from '../contestants/mounts.js';
import type { Bench } from '../harness/bench.js';
import { dropCaches } from '../harness/caches.js';
import type { LayoutImage } from '../harness/command-contestant.js';
import { findContestants, skippedOf } from '../harness/find-contestants.js';
import type { Amount, FailedRun, MeasuredRun, Run, ScenarioResult } from '../harness/result.js';
import { type Turns, takeTurns, validRun } from '../harness/rounds.js';
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

/** Filled by the first one, which is the unpacked folder. */
interface Known {
  plan?: Plan;
  evidence: Partial<Evidence>;
}

interface Plan {
  /** Relative to the mount. */
  largest: string;
  size: number;
  random: readonly ReadPlace[];
}

type PartRuns = Record<Part, Run>;

/** A result for each kind of reading. */
export async function measureReading(bench: Bench, image: LayoutImage): Promise<void> {
  const { programs, progress, book } = bench;
  const layer = largestBlob(image);
  const contestants = await findContestants(MOUNT_CONTESTANTS, programs);
  book.addContestants(contestants);
  const present = MOUNT_CONTESTANTS.filter((_, n) => contestants[n]?.skipped === undefined);
  const known: Known = { evidence: {} };
  const resultsOf = (all: Turns<MountContestant, PartRuns>): ScenarioResult[] =>
    PARTS.map((part) => ({
      ...part,
      image: image.name,
      ...amountOf(part.name, known),
      baseline: 'folder',
      rows: MOUNT_CONTESTANTS.map((one, n) => ({
        contestant: one.name,
        ...skippedOf(contestants[n]),
        runs: (all.get(one) ?? []).map((runs) => ('errors' in runs ? runs : runs[part.name])),
      })),
    }));
  await takeTurns<MountContestant, PartRuns>(
    present,
    { ...bench, onTurn: (all) => book.put(resultsOf(all)) },
    (contestant, turn) => {
      const { round } = turn;
      progress.step(
        `${image.name}, reading: ${contestant.title}, round ${round} of ${bench.rounds}`,
      );
      return withMount({ ...bench, ...turn }, contestant, { layer, round, known });
    },
  );
}

function amountOf(part: Part, { plan, evidence }: Known): { amount?: Amount } {
  const { entries } = evidence;
  if (plan === undefined || entries === undefined) return {};
  if (part.startsWith('walk')) return { amount: { count: entries, unit: 'entries' } };
  if (part === 'random') return { amount: { count: plan.random.length, unit: 'reads' } };
  return { amount: { count: plan.size, unit: 'bytes' } };
}

interface MountRound {
  layer: string;
  round: number;
  known: Known;
}

async function withMount(
  bench: Bench,
  contestant: MountContestant,
  { layer, round, known }: MountRound,
): Promise<PartRuns> {
  await using group = await openProcessGroup();
  const folder = await mkdtemp(join(bench.folder, 'c-'));
  const runs: Partial<PartRuns> = {};
  try {
    const place = { folder, enter: ['setsid', ...group.enter], signal: bench.signal };
    await using mount: OpenMount = await contestant.open(layer, place, bench.programs);
    known.plan ??= await makePlan(mount.path);
    const { plan, evidence } = known;
    const reading = { group, round, signal: bench.signal, plan, known: evidence, runs };
    const why = await untilAborted(readAll(mount.path, reading), bench.signal).catch(errorMessage);
    return withErrors(runs, { round, errors: [String(why)] });
  } finally {
    await removePlace(folder);
  }
}

/** What took too long, or failed, leaves what was measured before it. */
function withErrors(runs: Partial<PartRuns>, failed: FailedRun): PartRuns {
  const all = PARTS.map(({ name }) => [name, runs[name] ?? failed] as const);
  return Object.fromEntries(all) as PartRuns; // one for each part
}

interface Reading {
  group: ProcessGroup;
  round: number;
  signal: AbortSignal;
  plan: Plan;
  known: Partial<Evidence>;
  /** Filled one by one. */
  runs: Partial<PartRuns>;
}

async function readAll(
  path: string,
  { group, round, signal, plan, known, runs }: Reading,
): Promise<void> {
  const walk = async (): Promise<{ ms: number; list: string }> => {
    const begin = performance.now();
    const list = await execute('find', [path, '-printf', '%s %m %T@\\n'], { signal });
    return { ms: performance.now() - begin, list };
  };
  const measured = async <T extends { ms: number }>(
    work: () => Promise<T>,
  ): Promise<[MeasuredRun, T]> => {
    const { value, processes } = await withProcessMeter(group, work);
    return [{ round, ms: value.ms, processes }, value];
  };
  const cold = async <T extends { ms: number }>(
    work: () => Promise<T>,
  ): Promise<[MeasuredRun, T]> => {
    await dropCaches();
    return measured(work);
  };
  const sequence = inOrder(join(path, plan.largest), plan.size);
  const places = plan.random.map((place) => ({ ...place, path: join(path, place.path) }));
  const [walked, { list }] = await cold(walk);
  const isWhole = agrees(known, 'entries', list.split('\n').length - 1);
  runs.walk = validRun(walked, isWhole);
  runs['walk-again'] = validRun((await measured(walk))[0], isWhole);
  const [first, { sha256 }] = await cold(() => measureReads(sequence));
  runs.sequential = validRun(first, agrees(known, 'sequential', sha256));
  const [second, again] = await cold(() => measureReads(sequence));
  runs['sequential-again'] = validRun(second, agrees(known, 'sequential', again.sha256));
  const [random, reads] = await cold(() => measureReads(places));
  const { latencies } = reads;
  runs.random = validRun({ ...random, latencies }, agrees(known, 'random', reads.sha256));
}

/** The first one to read says what is right. @returns what speaks against the others */
function agrees<K extends keyof Evidence>(
  known: Partial<Evidence>,
  what: K,
  found: Evidence[K],
): string[] {
  const expected = (known[what] ??= found);
  return found === expected ? [] : [`${what}: ${found}, expected ${expected}`];
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

function largestBlob({ layers }: LayoutImage): string {
  const [largest] = layers.toSorted((a, b) => b.size - a.size);
  if (largest === undefined) throw new Error('Cannot read an image without layers');
  return largest.path;
}

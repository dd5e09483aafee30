/** A whole benchmark: who is here, the images made ready, one scenario after the other, all of it as one result. */

import { mkdir, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createBenchProgress } from '../report/progress.js';
import { START_CONTESTANTS } from '../contestants/all-contestants.js';
import { MOUNT_CONTESTANTS } from '../contestants/mounts.js';
import { removePlace } from '../programs/remove-place.js';
import { COMMAND_SCENARIOS, measureCommands } from '../scenarios/commands.js';
import { measureConcurrentStarts } from '../scenarios/concurrent-starts.js';
import { measureLinkStarts } from '../scenarios/link-starts.js';
import { measureReading } from '../scenarios/reads.js';
import { measureStarts } from '../scenarios/starts.js';
import { type ImageChoice, imageLayout } from './choose-images.js';
import type { Bench } from './bench.js';
import { openBenchRegistry } from './bench-registry.js';
import { currentLoad, readEnvironment } from './environment.js';
import { errorMessage } from '#src/common/errors.js';
import { findContestants } from './find-contestants.js';
import { ProgramFinder } from './program-finder.js';
import type { BenchResult } from './result.js';
import { ResultBook } from './result-book.js';
import { type PresentContestant, prepareStarts } from './start-entries.js';

export interface BenchOptions {
  /** What was typed. */
  command: string;
  images: readonly ImageChoice[];
  scenarios: readonly ScenarioName[];
  /** Names of those that start containers and take part. Default: everyone. */
  contestants?: readonly string[];
  rounds: number;
  /** Milliseconds that one contestant may take for a round. */
  turnTimeout: number;
  /** Folder for what is made once. */
  cache: string;
  /** Programs that are not on the path: name to path. */
  programs: ReadonlyMap<string, string>;
  signal: AbortSignal;
  /** Told after every run what there is so far. */
  keep?: (result: BenchResult) => Promise<void>;
}

/** Scenarios of starting containers, which share their contestants. */
const START_SCENARIOS = {
  starts: { measure: measureStarts, variants: 1 },
  links: { measure: measureLinkStarts, variants: 2 },
  concurrent: { measure: measureConcurrentStarts, variants: 1 },
} as const;

export const SCENARIO_NAMES = [
  'starts',
  'links',
  'concurrent',
  'index',
  'unpack',
  'reads',
] as const;
export type ScenarioName = (typeof SCENARIO_NAMES)[number];

/**
 * @returns what there is, also where it was cut off: it says so then
 * @throws Error where a program that everyone needs is missing
 */
export async function runBench(options: BenchOptions): Promise<BenchResult> {
  const { signal, cache, command, rounds, turnTimeout } = options;
  await mkdir(cache, { recursive: true });
  // Short, for there are sockets below it, whose paths have 104 bytes at most.
  const folder = await mkdtemp(join(tmpdir(), 'sb-'));
  try {
    await using registry = await openBenchRegistry(cache);
    const programs = new ProgramFinder(options.programs, cache);
    const progress = createBenchProgress(stepsOf(options));
    const environment = await readEnvironment(folder);
    const keep = options.keep ?? (() => Promise.resolve());
    const book = new ResultBook({ command, environment, load: currentLoad, keep });
    const own = { folder, cache, registry, programs, progress, book };
    const bench: Bench = { ...own, signal, rounds, turnTimeout };
    const unfinished = await measureAll(bench, options).catch((error: unknown) => {
      if (signal.aborted) return 'it was interrupted';
      throw error;
    });
    progress.end();
    return book.result(unfinished);
  } finally {
    await removePlace(folder);
  }
}

async function measureAll(bench: Bench, options: BenchOptions): Promise<undefined> {
  const { contestants: wanted, scenarios, images } = options;
  const starting = START_CONTESTANTS.filter(({ name }) => wanted?.includes(name) !== false);
  const found = scenarios.some(isStartScenario)
    ? await findContestants(starting, bench.programs)
    : [];
  bench.book.addContestants(found);
  const present = found.flatMap(({ versions, skipped }, n): PresentContestant[] => {
    const contestant = starting[n];
    return skipped === undefined && contestant !== undefined ? [{ contestant, versions }] : [];
  });
  for (const choice of images) await measureImage(bench, options, { choice, present });
}

async function measureImage(
  bench: Bench,
  { scenarios }: BenchOptions,
  { choice, present }: { choice: ImageChoice; present: readonly PresentContestant[] },
): Promise<void> {
  const attempt = async (what: string, work: () => Promise<void>): Promise<void> => {
    try {
      bench.signal.throwIfAborted();
      await work();
    } catch (error) {
      bench.signal.throwIfAborted();
      await bench.book.addTrouble(`${what} of image "${choice.name}": ${errorMessage(error)}`);
    }
  };
  const starts = scenarios.filter(isStartScenario);
  if (starts.length > 0)
    await attempt('starts', async () => {
      const options = await prepareStarts(bench, choice, present);
      for (const name of starts)
        await attempt(name, () => START_SCENARIOS[name].measure(bench, options));
    });
  for (const name of scenarios) {
    if (isStartScenario(name)) continue;
    await attempt(name, async () => {
      const image = await imageLayout(bench, choice);
      const layers = image.layers.map(({ digest, size }) => ({ digest, size }));
      bench.book.addImage({ name: choice.name, title: choice.title, layers });
      if (name === 'reads') await measureReading(bench, image);
      else await measureCommands(bench, COMMAND_SCENARIOS[name], image);
    });
  }
}

function isStartScenario(name: ScenarioName): name is keyof typeof START_SCENARIOS {
  return name in START_SCENARIOS;
}

/** Everyone once a round, in each scenario on each image; those who are not here are fewer. */
function stepsOf({ scenarios, images, rounds, contestants }: BenchOptions): number {
  const starting = contestants?.length ?? START_CONTESTANTS.length;
  const turns = scenarios.map((name) => {
    switch (name) {
      case 'starts':
      case 'links':
      case 'concurrent':
        return starting * START_SCENARIOS[name].variants;
      case 'reads':
        return MOUNT_CONTESTANTS.length;
      case 'index':
      case 'unpack':
        return COMMAND_SCENARIOS[name].contestants.length;
    }
  });
  return turns.reduce((sum, count) => sum + count, 0) * rounds * images.length;
}

/** A whole benchmark: who is here, the images made ready, one scenario after the other, all of it as one result. */

import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createBenchProgress } from '../report/progress.js';
import { START_CONTESTANTS } from '../contestants/all-contestants.js';
import { MOUNT_CONTESTANTS } from '../contestants/mounts.js';
import { COMMAND_SCENARIOS, measureCommands } from '../scenarios/commands.js';
import { measureConcurrentStarts } from '../scenarios/concurrent-starts.js';
import { measureLinkStarts } from '../scenarios/link-starts.js';
import { measureReading } from '../scenarios/reads.js';
import { type StartEntry, type StartScenarioOptions, measureStarts } from '../scenarios/starts.js';
import type { StartImage } from '../scenarios/start-stages.js';
import { type ImageChoice, imageLayout, publishImage } from './choose-images.js';
import type { Bench } from './bench.js';
import { openBenchRegistry } from './bench-registry.js';
import type { StartContestant } from './contestant.js';
import { currentLoad, readEnvironment } from './environment.js';
import { preparedImage } from './prepared-images.js';
import { ProgramFinder } from './program-finder.js';
import { type BenchResult, type Contestant, RESULT_VERSION } from './result.js';

export interface BenchOptions {
  /** What was typed. */
  command: string;
  images: readonly ImageChoice[];
  scenarios: readonly ScenarioName[];
  /** Names of those that take part. Default: everyone. */
  contestants?: readonly string[];
  rounds: number;
  /** Folder for what is made once. */
  cache: string;
  /** Programs that are not on the path: name to path. */
  programs: ReadonlyMap<string, string>;
  signal: AbortSignal;
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

/** @throws the signal's reason; Error where a program that everyone needs is missing */
export async function runBench(options: BenchOptions): Promise<BenchResult> {
  const { signal, cache, command } = options;
  const startedAt = new Date().toISOString();
  await mkdir(cache, { recursive: true });
  // Short, for there are sockets below it, whose paths have 104 bytes at most.
  const folder = await mkdtemp(join(tmpdir(), 'sb-'));
  try {
    await using registry = await openBenchRegistry(cache);
    const programs = new ProgramFinder(options.programs, cache);
    const progress = createBenchProgress(stepsOf(options));
    const environment = await readEnvironment(folder);
    const bench: Bench = { signal, folder, cache, registry, programs, progress };
    const book = new ResultBook();
    const present = await findContestants(bench, options, book);
    for (const choice of options.images)
      await measureImage(bench, options, { choice, present, book });
    progress.end();
    return {
      version: RESULT_VERSION,
      command,
      startedAt,
      finishedAt: new Date().toISOString(),
      environment: { ...environment, loadAfter: currentLoad() },
      contestants: [...book.contestants.values()],
      images: book.images,
      scenarios: book.scenarios,
    };
  } finally {
    await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  }
}

/** What has been found so far. */
class ResultBook {
  readonly contestants = new Map<string, Contestant>();
  readonly images: BenchResult['images'] = [];
  readonly scenarios: BenchResult['scenarios'] = [];

  note(contestants: readonly Contestant[]): void {
    for (const one of contestants) this.contestants.set(one.name, one);
  }
}

/** A contestant that is here. */
interface Present {
  contestant: StartContestant;
  versions: Record<string, string>;
}

async function findContestants(
  { programs }: Bench,
  { contestants: wanted }: BenchOptions,
  book: ResultBook,
): Promise<Present[]> {
  const present: Present[] = [];
  for (const contestant of START_CONTESTANTS) {
    const { name, title } = contestant;
    if (wanted?.includes(name) === false) continue;
    const found = await contestant.find(programs);
    book.note([{ name, title, versions: {}, ...found }]);
    if ('versions' in found) present.push({ contestant, versions: found.versions });
  }
  return present;
}

interface ImageRun {
  choice: ImageChoice;
  present: readonly Present[];
  book: ResultBook;
}

async function measureImage(
  bench: Bench,
  { scenarios, rounds }: BenchOptions,
  { choice, present, book }: ImageRun,
): Promise<void> {
  const start = await publishImage(bench, choice);
  const second = choice.second === undefined ? undefined : await publishImage(bench, choice.second);
  const { name, layers } = start.image;
  book.images.push({ name, title: choice.title, layers: [...layers] });
  const entries: StartEntry[] = [];
  for (const one of present) entries.push(await entryFor(bench, one, { start, second }));
  const options: StartScenarioOptions = { image: name, entries, rounds };
  for (const scenario of scenarios) {
    if (scenario in START_SCENARIOS) {
      const { measure } = START_SCENARIOS[scenario as keyof typeof START_SCENARIOS]; // as was just seen
      book.scenarios.push(...(await measure(bench, options)));
      continue;
    }
    const image = await imageLayout(bench, choice);
    if (scenario === 'reads') {
      const { results, contestants } = await measureReading(bench, { image, rounds });
      book.scenarios.push(...results);
      book.note(contestants);
    } else {
      const which = scenario === 'index' ? COMMAND_SCENARIOS.index : COMMAND_SCENARIOS.unpack;
      const { result, contestants } = await measureCommands(bench, which, { image, rounds });
      book.scenarios.push(result);
      book.note(contestants);
    }
  }
}

/** The images as this contestant takes them. */
async function entryFor(
  bench: Bench,
  { contestant, versions }: Present,
  { start, second }: { start: StartImage; second: StartImage | undefined },
): Promise<StartEntry> {
  const own = async (one: StartImage): Promise<Pick<StartEntry, 'start' | 'preparation'>> => {
    const prepared = await preparedImage(bench, { contestant, versions, image: one.image });
    if (prepared === undefined) return { start: one };
    const image = await bench.registry.image(one.image.name, prepared.path);
    return { start: { ...one, image }, preparation: prepared.preparation };
  };
  const other = second === undefined ? {} : { second: (await own(second)).start };
  return { contestant, ...(await own(start)), ...other };
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

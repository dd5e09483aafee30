/** The scenarios of starting containers, for one image: installations come and go, stages follow one another in each. */

import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { untilAborted } from '#src/common/until-aborted.js';
import type {
  FailedRun,
  Preparation,
  Run,
  ScenarioResult,
  ScenarioRow,
} from '../harness/result.js';
import type { Installation, StartContestant } from '../harness/contestant.js';
import { type Turns, takeTurns } from '../harness/rounds.js';
import { removePlace } from '../programs/remove-place.js';
import type { Bench } from '../harness/bench.js';
import { openProcessGroup } from '../meters/process-group.js';
import { type Stage, type StartImage, coldStart, warmStart } from './start-stages.js';

/** What takes part, with what was made of the image for each. */
export interface StartEntry {
  contestant: StartContestant;
  start: StartImage;
  second?: StartImage;
  preparation?: Preparation;
}

export interface StartScenarioOptions {
  /** Name of the image as the results know it. */
  image: string;
  entries: readonly StartEntry[];
  /** Those that are here, but for whom the image could not be made ready. */
  unprepared: readonly ScenarioRow[];
}

const STAGES = [
  {
    name: 'cold-start',
    title: 'Cold pull and start',
    description:
      'An image that nothing is here of is pulled and its container started, until the ready line is printed. The service runs, its storage is empty, the kernel’s caches are dropped.',
  },
  {
    name: 'warm-start',
    title: 'Warm start',
    description: 'Another container of the image that was just started, until the ready line.',
  },
  {
    name: 'second-image',
    title: 'Second image sharing layers',
    description:
      'After that, another image with the same lower layers is pulled and started, with the kernel’s caches dropped.',
  },
] as const;

type StageName = (typeof STAGES)[number]['name'];
type StageRuns = Partial<Record<StageName, Run>>;

/** A result for each stage that ran. */
export async function measureStarts(
  bench: Bench,
  { image, entries, unprepared }: StartScenarioOptions,
): Promise<void> {
  const { registry, progress, book } = bench;
  const baseline = entries[0]?.contestant.name ?? '';
  const resultsOf = (all: Turns<StartEntry, StageRuns>): ScenarioResult[] =>
    STAGES.map((stage) => {
      const rows = entries.map((entry) => stageRow(stage.name, entry, all.get(entry) ?? []));
      return { ...stage, image, baseline, rows: [...rows, ...unprepared] };
    }).filter(({ rows }) => rows.some(({ runs }) => runs.length > 0));
  await takeTurns<StartEntry, StageRuns>(
    entries,
    { ...bench, onTurn: (all) => book.put(resultsOf(all)) },
    async (entry, turn) => {
      const { contestant } = entry;
      progress.step(`${image}: ${contestant.title}, round ${turn.round} of ${bench.rounds}`);
      return withInstallation({ ...bench, ...turn }, contestant, (part) =>
        runStages({ ...part, round: turn.round, host: registry.meter.host }, entry),
      );
    },
  );
}

/** An installation that failed as a whole is an error of its first start. */
function stageRow(
  name: StageName,
  entry: StartEntry,
  turns: readonly (StageRuns | FailedRun)[],
): ScenarioRow {
  return {
    contestant: entry.contestant.name,
    ...preparationOf(entry),
    ...(name === 'second-image' ? layersOf(entry.second) : {}),
    runs: turns.flatMap((one) =>
      'errors' in one ? (name === 'cold-start' ? one : []) : (one[name] ?? []),
    ),
  };
}

/** What was made of the image for this contestant, and of which blobs it consists then. */
export function preparationOf({
  preparation,
  start,
}: StartEntry): Pick<ScenarioRow, 'preparation' | 'layers'> {
  return preparation === undefined ? {} : { preparation, layers: [...start.image.layers] };
}

/** Of an image that is not the scenario's own. */
function layersOf(start: StartImage | undefined): Pick<ScenarioRow, 'layers'> {
  return start === undefined ? {} : { layers: [...start.image.layers] };
}

async function runStages(stage: Stage, { start, second }: StartEntry): Promise<StageRuns> {
  const runs: StageRuns = { 'cold-start': await coldStart(stage, start) };
  runs['warm-start'] = await warmStart(stage, start);
  if (second !== undefined) runs['second-image'] = await coldStart(stage, second);
  return runs;
}

/** Opens the contestant on an empty folder and a group of its own; whatever happens, nothing of it is left. */
export async function withInstallation<T>(
  bench: Bench,
  contestant: StartContestant,
  work: (part: Omit<Stage, 'round' | 'host'>) => Promise<T>,
  enter: readonly string[] = [],
): Promise<T> {
  await using group = await openProcessGroup();
  const folder = await mkdtemp(join(bench.folder, 'c-'));
  try {
    // A session of its own: Ctrl-C is ours to handle.
    const place = { folder, enter: ['setsid', ...group.enter, ...enter], signal: bench.signal };
    await using installation: Installation = await contestant.open(place, bench.programs);
    const part = { meter: bench.registry.meter, group, installation, contestant };
    return await untilAborted(work(part), bench.signal);
  } finally {
    await removePlace(folder);
  }
}

/** Scenarios where everyone does the same piece of work in a command of their own. */

import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { INDEX_BUILDERS } from '../contestants/index-builders.js';
import { UNPACKERS } from '../contestants/unpackers.js';
import { executeCommand } from '../programs/execute.js';
import { removePlace } from '../programs/remove-place.js';
import type { Bench } from '../harness/bench.js';
import { dropCaches } from '../harness/caches.js';
import type { CommandContestant, LayoutImage } from '../harness/command-contestant.js';
import { findContestants, skippedOf } from '../harness/find-contestants.js';
import type { Run, ScenarioResult } from '../harness/result.js';
import { type Turns, takeTurns, validRun } from '../harness/rounds.js';
import { openProcessGroup } from '../meters/process-group.js';
import { withProcessMeter } from '../harness/with-process-meter.js';

interface CommandScenario {
  name: string;
  title: string;
  description: string;
  /** The first one is whom the others are compared with. */
  contestants: readonly CommandContestant[];
}

export const COMMAND_SCENARIOS = {
  index: {
    name: 'index-build',
    title: 'Index build',
    description:
      'The whole image is read once so that it is known where everything lies in it, beside inflating it and nothing else; the kernel’s caches are dropped.',
    contestants: INDEX_BUILDERS,
  },
  unpack: {
    name: 'unpack',
    title: 'Unpack',
    description:
      'The whole image becomes a root file system on this disk; the kernel’s caches are dropped.',
    contestants: UNPACKERS,
  },
} satisfies Record<string, CommandScenario>;

export async function measureCommands(
  bench: Bench,
  scenario: CommandScenario,
  image: LayoutImage,
): Promise<void> {
  const { programs, progress, book } = bench;
  const { name, title, description } = scenario;
  const contestants = (await findContestants(scenario.contestants, programs)).map((one) => ({
    ...one,
    name: nameIn(scenario, one.name),
  }));
  book.addContestants(contestants);
  const present = scenario.contestants.filter((_, n) => contestants[n]?.skipped === undefined);
  const amount = { count: image.size, unit: 'bytes' } as const;
  const resultOf = (all: Turns<CommandContestant, Run>): ScenarioResult => ({
    name,
    title,
    description,
    image: image.name,
    amount,
    baseline: nameIn(scenario, present[0]?.name ?? ''),
    rows: scenario.contestants.map((one, n) => ({
      contestant: nameIn(scenario, one.name),
      ...skippedOf(contestants[n]),
      runs: [...(all.get(one) ?? [])],
    })),
  });
  await takeTurns<CommandContestant, Run>(
    present,
    { ...bench, onTurn: (all) => book.put([resultOf(all)]) },
    (contestant, turn) => {
      const { round } = turn;
      progress.step(`${title}, ${image.name}: ${contestant.title}, round ${round}`);
      return runCommand({ ...bench, ...turn }, contestant, { image, round });
    },
  );
}

/** Whoever does several kinds of work is someone else in each, with another title. */
function nameIn(scenario: CommandScenario, contestant: string): string {
  return `${scenario.name}/${contestant}`;
}

async function runCommand(
  bench: Bench,
  contestant: CommandContestant,
  { image, round }: { image: LayoutImage; round: number },
): Promise<Run> {
  await using group = await openProcessGroup();
  const folder = await mkdtemp(join(bench.folder, 'c-'));
  try {
    const place = { folder, enter: group.enter, signal: bench.signal };
    await using open = await contestant.open(image, place);
    const command = [...group.enter, ...open.command];
    await dropCaches();
    const { value: ms, processes } = await withProcessMeter(group, async () => {
      const begin = performance.now();
      await executeCommand(command, { signal: bench.signal });
      return performance.now() - begin;
    });
    return validRun({ round, ms, processes }, await open.objections());
  } finally {
    await removePlace(folder);
  }
}

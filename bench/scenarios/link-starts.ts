/** Cold starts from a registry that is some way off: everyone lives at the far end of a network of known speed. */

import type { Bench } from '../harness/bench.js';
import type { LinkSpeed, Run, ScenarioResult } from '../harness/result.js';
import { type Turns, takeTurns } from '../harness/rounds.js';
import { openNetwork } from '../meters/network.js';
import { coldStart } from './start-stages.js';
import {
  type StartEntry,
  type StartScenarioOptions,
  preparationOf,
  withInstallation,
} from './starts.js';

/** Of a data centre, and of the registry across an ocean. */
const LINKS: readonly LinkSpeed[] = [
  { roundTripMs: 10, mbitPerSecond: 1000 },
  { roundTripMs: 100, mbitPerSecond: 100 },
];

/** A result for each link. */
export async function measureLinkStarts(
  bench: Bench,
  options: StartScenarioOptions,
): Promise<void> {
  for (const link of LINKS) await measureLink(bench, options, link);
}

async function measureLink(
  bench: Bench,
  { image, entries, unprepared }: StartScenarioOptions,
  link: LinkSpeed,
): Promise<void> {
  const { registry, progress, book } = bench;
  const { roundTripMs, mbitPerSecond } = link;
  const title = `${roundTripMs} ms and ${mbitPerSecond} Mbit/s`;
  await using network = await openNetwork(mbitPerSecond);
  await using way = await network.link(registry.meter.port, roundTripMs);
  const resultOf = (all: Turns<StartEntry, Run>): ScenarioResult => ({
    name: `cold-start-${roundTripMs}ms-${mbitPerSecond}mbit`,
    title: `Cold pull and start over ${title}`,
    description: 'As the cold start, with the registry at the other end of a slower network.',
    image,
    link,
    baseline: entries[0]?.contestant.name ?? '',
    rows: [
      ...entries.map((entry) => ({
        contestant: entry.contestant.name,
        ...preparationOf(entry),
        runs: [...(all.get(entry) ?? [])],
      })),
      ...unprepared,
    ],
  });
  await takeTurns<StartEntry, Run>(
    entries,
    { ...bench, onTurn: (all) => book.put([resultOf(all)]) },
    ({ contestant, start }, turn) => {
      const { round } = turn;
      progress.step(`${image}, ${title}: ${contestant.title}, round ${round} of ${bench.rounds}`);
      return withInstallation(
        { ...bench, ...turn },
        contestant,
        (part) => coldStart({ ...part, round, host: way.host }, start),
        network.enter,
      );
    },
  );
}

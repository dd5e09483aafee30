/** Cold starts from a registry that is some way off: everyone lives at the far end of a network of known speed. */

import type { Bench } from '../harness/bench.js';
import type { LinkSpeed, ScenarioResult } from '../harness/result.js';
import { takeTurns } from '../harness/rounds.js';
import { openNetwork } from '../meters/network.js';
import { coldStart } from './start-stages.js';
import { type StartScenarioOptions, preparationOf, withInstallation } from './starts.js';

/** Of a data centre, and of the registry across an ocean. */
const LINKS: readonly LinkSpeed[] = [
  { roundTripMs: 10, mbitPerSecond: 1000 },
  { roundTripMs: 100, mbitPerSecond: 100 },
];

/** @returns a result for each link */
export async function measureLinkStarts(
  bench: Bench,
  options: StartScenarioOptions,
): Promise<ScenarioResult[]> {
  const results: ScenarioResult[] = [];
  for (const link of LINKS) results.push(await measureLink(bench, options, link));
  return results;
}

async function measureLink(
  bench: Bench,
  { image, entries, rounds }: StartScenarioOptions,
  link: LinkSpeed,
): Promise<ScenarioResult> {
  const { signal, registry, progress } = bench;
  const { roundTripMs, mbitPerSecond } = link;
  const title = `${roundTripMs} ms and ${mbitPerSecond} Mbit/s`;
  await using network = await openNetwork(mbitPerSecond);
  await using way = await network.link(registry.meter.port, roundTripMs);
  const all = await takeTurns(entries, { rounds, signal }, ({ contestant, start }, round) => {
    progress.step(`${image}, ${title}: ${contestant.title}, round ${round} of ${rounds}`);
    return withInstallation(
      bench,
      contestant,
      (part) => coldStart({ ...part, round, host: way.host }, start),
      network.enter,
    );
  });
  return {
    name: `cold-start-${roundTripMs}ms-${mbitPerSecond}mbit`,
    title: `Cold pull and start over ${title}`,
    description: 'As the cold start, with the registry at the other end of a slower network.',
    image,
    link,
    baseline: entries[0]?.contestant.name ?? '',
    rows: entries.map((entry) => ({
      contestant: entry.contestant.name,
      ...preparationOf(entry),
      runs: all.get(entry) ?? [],
    })),
  };
}

/** Many containers of one image at once, on an installation where the image was started before. */

import type { Bench } from '../harness/bench.js';
import type { FailedRun, MeasuredRun, Run, ScenarioResult } from '../harness/result.js';
import { type Turns, takeTurns, validRun } from '../harness/rounds.js';
import { withProcessMeter } from '../harness/with-process-meter.js';
import { type Ready, startUntilReady } from '../meters/ready.js';
import {
  type Stage,
  type StartImage,
  coldStart,
  containerId,
  endContainer,
  withCommand,
} from './start-stages.js';
import { type StartEntry, type StartScenarioOptions, withInstallation } from './starts.js';

const COUNTS = [1, 10, 50];
const READY_TIMEOUT = 120_000;

/** By how many were started at once. */
type CountRuns = ReadonlyMap<number, Run>;

/** A result for each count. */
export async function measureConcurrentStarts(
  bench: Bench,
  { image, entries, unprepared }: StartScenarioOptions,
): Promise<void> {
  const { registry, progress, book } = bench;
  const resultsOf = (all: Turns<StartEntry, CountRuns>): ScenarioResult[] =>
    COUNTS.map((count) => ({
      name: `concurrent-${count}`,
      title: count === 1 ? 'One container' : `${count} containers at once`,
      description:
        'Of an image that was started before: from the first command until the last container has printed its ready line. The latencies are those of each container.',
      image,
      amount: { count, unit: 'containers' },
      baseline: entries[0]?.contestant.name ?? '',
      rows: [
        ...entries.map((entry) => ({
          contestant: entry.contestant.name,
          runs: (all.get(entry) ?? []).flatMap((one) =>
            'errors' in one ? one : (one.get(count) ?? []),
          ),
        })),
        ...unprepared,
      ],
    }));
  await takeTurns<StartEntry, CountRuns | FailedRun>(
    entries,
    { ...bench, onTurn: (all) => book.put(resultsOf(all)) },
    ({ contestant, start }, turn) => {
      const { round } = turn;
      progress.step(
        `${image}, many at once: ${contestant.title}, round ${round} of ${bench.rounds}`,
      );
      return withInstallation({ ...bench, ...turn }, contestant, (part) =>
        startCounts({ ...part, round, host: registry.meter.host }, start),
      );
    },
  );
}

async function startCounts(stage: Stage, start: StartImage): Promise<CountRuns | FailedRun> {
  const first = await coldStart(stage, start);
  if ('errors' in first) return first;
  const runs = new Map<number, Run>();
  for (const count of COUNTS) runs.set(count, await startMany(stage, start, count));
  return runs;
}

interface Started {
  id: string;
  ready: Ready;
  ends: boolean;
  /** After all were asked for. */
  ms: number;
}

async function startMany(
  { installation, group, meter, host, round }: Stage,
  start: StartImage,
  count: number,
): Promise<MeasuredRun | FailedRun> {
  const reference = `${host}/${start.image.path}`;
  const { value: started, processes } = await withProcessMeter(group, () => {
    const begin = performance.now();
    meter.start(begin);
    const one = async (): Promise<Started> => {
      const id = containerId();
      const command = installation.runCommand(reference, { id, ...withCommand(start) });
      const ready = await startUntilReady(command, start.ready, READY_TIMEOUT);
      return { id, ready, ends: start.ends, ms: performance.now() - begin };
    };
    return Promise.allSettled(Array.from({ length: count }, one));
  });
  const { log: _, ...traffic } = meter.read();
  const running = started.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  const objections = started.flatMap((one) =>
    one.status === 'rejected' ? [String(one.reason)] : [],
  );
  for (const one of running) objections.push(...(await endContainer(installation, one)));
  objections.push(...(await installation.objections(start.image)));
  const latencies = running.map(({ ms }) => ms).toSorted((a, b) => a - b);
  const ms = latencies.at(-1) ?? 0;
  return validRun({ round, ms, traffic, latencies, processes }, objections);
}

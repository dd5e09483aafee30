/**
 * What is said of several runs. A ratio is made of two runs of one round, which met the same machine, and only
 * then a median is taken; rounds where either side failed do not count.
 */

import {
  type MeasuredRun,
  type Run,
  type ScenarioResult,
  type ScenarioRow,
  isMeasured,
} from './result.js';

/** The middle of some numbers, and how far they lie apart. */
export interface Summary {
  median: number;
  least: number;
  greatest: number;
  count: number;
}

/** Numbers that every run may have, and that less is better of. */
export const METRICS = {
  ms: (run) => run.ms,
  bytes: (run) => run.traffic?.bytes,
  requests: (run) => run.traffic?.requests,
  pssBytes: (run) => sum(run.processes?.map((one) => one.peakPssBytes)),
  cpuMs: (run) => sum(run.processes?.map((one) => one.cpuMs)),
} satisfies Record<string, (run: MeasuredRun) => number | undefined>;

export type Metric = keyof typeof METRICS;

/** One contestant in a scenario, summed up; what nobody measured is missing. */
export interface RowSummary {
  contestant: string;
  values: Partial<Record<Metric, Summary>>;
  /** Of its runs and the baseline's, within rounds. */
  ratios: Partial<Record<Metric, Summary>>;
  failedRuns: number;
}

/** @returns one for each row, in their order */
export function summarizeScenario({ rows, baseline }: ScenarioResult): RowSummary[] {
  const against = rows.find((row) => row.contestant === baseline)?.runs ?? [];
  return rows.map(({ contestant, runs }) => ({
    contestant,
    values: ofEachMetric((metric) => summarize(valuesOf(runs, METRICS[metric]))),
    ratios: ofEachMetric((metric) => summarize(ratiosOf(runs, against, METRICS[metric]))),
    failedRuns: runs.filter((run) => !isMeasured(run)).length,
  }));
}

/** @returns `undefined` where there are no numbers */
export function summarize(numbers: readonly number[]): Summary | undefined {
  if (numbers.length === 0) return undefined;
  return {
    median: quantile(numbers, 0.5),
    least: Math.min(...numbers),
    greatest: Math.max(...numbers),
    count: numbers.length,
  };
}

/** Of one metric, each measured run's. */
function valuesOf(
  runs: readonly Run[],
  metric: (run: MeasuredRun) => number | undefined,
): number[] {
  return runs.filter(isMeasured).flatMap((run) => metric(run) ?? []);
}

/** Milliseconds of all single reads or starts of a contestant, rounds together. */
export function latenciesOf({ runs }: ScenarioRow): number[] {
  return runs.filter(isMeasured).flatMap(({ latencies = [] }) => latencies);
}

/** A run's number divided by that of the other's run of the same round, in the order of `runs`. */
export function ratiosOf(
  runs: readonly Run[],
  baseline: readonly Run[],
  metric: (run: MeasuredRun) => number | undefined,
): number[] {
  const divisors = new Map(
    baseline.filter(isMeasured).map((run) => [run.round, metric(run)] as const),
  );
  return runs.filter(isMeasured).flatMap((run) => {
    const [value, divisor] = [metric(run), divisors.get(run.round)];
    return value === undefined || divisor === undefined || divisor === 0 ? [] : [value / divisor];
  });
}

/**
 * The number below which a share of the others lies, interpolated between neighbours.
 * @param share 0 to 1: 0.5 is the median
 * @param numbers in any order, at least one
 */
export function quantile(numbers: readonly number[], share: number): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const at = share * (sorted.length - 1);
  const below = sorted[Math.floor(at)] ?? Number.NaN;
  const above = sorted[Math.ceil(at)] ?? Number.NaN;
  return below + (above - below) * (at - Math.floor(at));
}

function ofEachMetric(
  summary: (metric: Metric) => Summary | undefined,
): Partial<Record<Metric, Summary>> {
  const names = Object.keys(METRICS) as Metric[];
  return Object.fromEntries(
    names.flatMap((metric) => {
      const one = summary(metric);
      return one === undefined ? [] : [[metric, one]];
    }),
  );
}

/** @returns `undefined` where nobody was looked at: of the kernel's own work nothing is known */
function sum(numbers: readonly number[] = []): number | undefined {
  return numbers.length === 0 ? undefined : numbers.reduce((total, number) => total + number, 0);
}

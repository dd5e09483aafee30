/** The numbers of a scenario as a table of texts, the same in every report; columns that nobody fills are left out. */

import { formatBytes } from '#src/cli/format.js';
import {
  type Contestant,
  PHASES,
  type ScenarioResult,
  type ScenarioRow,
  isMeasured,
} from '../harness/result.js';
import {
  type Metric,
  type RowSummary,
  type Summary,
  latenciesOf,
  quantile,
  summarizeScenario,
} from '../harness/statistics.js';
import { typicalRun } from './typical-run.js';
import { formatMetric, formatMs, formatRate, formatRatio, formatSummary } from './units.js';

export interface NumbersTable {
  heading: string[];
  /** The contestant's title first, as often as someone was measured. */
  rows: string[][];
  /** Who has no number, or which run does not count, and why. */
  troubles: string[];
}

interface Column {
  heading: string;
  cell: (row: ScenarioRow, summary: RowSummary) => string;
}

/** What is shown as a median alone. */
const MEDIANS: readonly [Metric, string][] = [
  ['bytes', 'fetched'],
  ['requests', 'requests'],
  ['pssBytes', 'memory'],
  ['cpuMs', 'processor'],
];
const NOTHING = '-';

export function numbersTable(
  scenario: ScenarioResult,
  contestants: readonly Contestant[],
): NumbersTable {
  const title = (name: string): string => titleOf(name, contestants);
  const summaries = summarizeScenario(scenario);
  const measured = scenario.rows.flatMap((row, n) => {
    const summary = summaries[n];
    return summary?.values.ms === undefined ? [] : [{ row, summary }];
  });
  const columns = [...timeColumns(scenario, title), ...otherColumns(scenario, summaries)];
  return {
    heading: columns.map(({ heading }) => heading),
    rows: measured.map(({ row, summary }) => columns.map(({ cell }) => cell(row, summary))),
    troubles: scenario.rows.flatMap((row) => troublesOf(row, title)),
  };
}

export function titleOf(name: string, contestants: readonly Contestant[]): string {
  return contestants.find((one) => one.name === name)?.title ?? name;
}

function timeColumns(
  { rows, baseline }: ScenarioResult,
  title: (name: string) => string,
): Column[] {
  const hasPhases = rows.some(({ runs }) => runs.some((run) => isMeasured(run) && run.phases));
  const phases = PHASES.map((phase): Column => {
    const ofTypical = (row: ScenarioRow) => typicalRun(row.runs)?.phases?.[phase];
    return { heading: phase, cell: (row) => shown(ofTypical(row), formatMs) };
  });
  return [
    { heading: '', cell: ({ contestant }) => title(contestant) },
    { heading: 'time', cell: (_, { values }) => summaryCell(values.ms, formatMs) },
    {
      heading: `of ${title(baseline)}`,
      cell: (_, { ratios }) => summaryCell(ratios.ms, formatRatio),
    },
    ...(hasPhases ? phases : []),
  ];
}

function otherColumns(
  { rows, amount }: ScenarioResult,
  summaries: readonly RowSummary[],
): Column[] {
  const medians = MEDIANS.filter(([metric]) =>
    summaries.some(({ values }) => values[metric] !== undefined),
  ).map(([metric, heading]): Column => {
    const format = (value: number): string => formatMetric(metric, value);
    return { heading, cell: (_, { values }) => shown(values[metric]?.median, format) };
  });
  const preparation: Column = {
    heading: 'made before',
    cell: (row) =>
      shown(
        row.preparation,
        ({ what, ms, bytes }) => `${what}: ${formatMs(ms)}, ${formatBytes(bytes)}`,
      ),
  };
  const rate: Column = {
    heading: 'a second',
    cell: (_, { values }) =>
      amount === undefined ? NOTHING : shown(values.ms, ({ median }) => formatRate(amount, median)),
  };
  return [
    ...(amount === undefined ? [] : [rate]),
    ...(rows.some((row) => latenciesOf(row).length > 0) ? LATENCIES : []),
    ...medians,
    ...(rows.some((row) => row.preparation !== undefined) ? [preparation] : []),
  ];
}

/** Of single reads or starts. */
const LATENCIES: readonly Column[] = [0.5, 0.99].map((share) => ({
  heading: `${share * 100} % within`,
  cell: (row) => {
    const times = latenciesOf(row);
    return times.length === 0 ? NOTHING : formatMs(quantile(times, share));
  },
}));

function troublesOf(
  { contestant, skipped, runs }: ScenarioRow,
  title: (name: string) => string,
): string[] {
  const errors = runs.flatMap((run) =>
    isMeasured(run)
      ? []
      : run.errors.map(
          (error) => `${title(contestant)}: round ${run.round} does not count: ${error}`,
        ),
  );
  return skipped === undefined ? errors : [`${title(contestant)}: skipped: ${skipped}`, ...errors];
}

function summaryCell(summary: Summary | undefined, format: (value: number) => string): string {
  return shown(summary, (one) => formatSummary(one, format));
}

function shown<T>(value: T | undefined, format: (value: T) => string): string {
  return value === undefined ? NOTHING : format(value);
}

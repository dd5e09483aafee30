/** The bounds that measurements have to keep: read from `bench/gates.json`, compared with what was found. */

import { z } from 'zod';
import type { Figures } from './figures.js';
import type { BenchResult } from './result.js';
import { METRICS, type Metric, summarizeScenario } from './statistics.js';

const bound = { what: z.string(), atMost: z.number().optional(), atLeast: z.number().optional() };

const gatesFile = z.strictObject({
  benchmarks: z.array(
    z.strictObject({
      name: z.string(),
      arguments: z.array(z.string()),
      gates: z.array(z.strictObject({ figure: z.string(), ...bound })),
    }),
  ),
  starts: z.strictObject({
    image: z.string(),
    rounds: z.number(),
    contestants: z.array(z.string()),
    gates: z.array(
      z.strictObject({
        scenario: z.string(),
        contestant: z.string(),
        metric: z.enum(Object.keys(METRICS) as [Metric, ...Metric[]]),
        ...bound,
      }),
    ),
  }),
  demo: z.strictObject({ what: z.string() }),
});

export type GatesFile = z.infer<typeof gatesFile>;
type Bound = Pick<GatesFile['benchmarks'][number]['gates'][number], 'what' | 'atMost' | 'atLeast'>;

export interface Verdict {
  what: string;
  /** `NaN` where nothing was measured. */
  value: number;
  /** `at most 0.9` */
  bound: string;
  holds: boolean;
}

/** @throws Error where the text is no file of gates */
export function parseGates(text: string): GatesFile {
  return gatesFile.parse(JSON.parse(text));
}

export function judgeFigures(
  gates: GatesFile['benchmarks'][number]['gates'],
  figures: Figures,
): Verdict[] {
  return gates.map((gate) => judge(gate, figures[gate.figure] ?? Number.NaN));
}

/** Ratios against each scenario's baseline, medians of the rounds. @param result none where nothing was measured */
export function judgeStarts(
  gates: GatesFile['starts']['gates'],
  result: BenchResult | undefined,
): Verdict[] {
  return gates.map((gate) => {
    const scenario = result?.scenarios.find(({ name }) => name === gate.scenario);
    const rows = scenario === undefined ? [] : summarizeScenario(scenario);
    const row = rows.find(({ contestant }) => contestant === gate.contestant);
    return judge(gate, row?.ratios[gate.metric]?.median ?? Number.NaN);
  });
}

function judge({ what, atMost, atLeast }: Bound, value: number): Verdict {
  // What was not measured keeps no bound.
  const holds =
    !Number.isNaN(value) && value <= (atMost ?? Infinity) && value >= (atLeast ?? -Infinity);
  const bounds = [
    ...(atMost === undefined ? [] : [`at most ${atMost}`]),
    ...(atLeast === undefined ? [] : [`at least ${atLeast}`]),
  ];
  return { what, value, bound: bounds.join(', '), holds };
}

import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { parseFigures } from '../../bench/harness/figures.js';
import { judgeFigures, judgeStarts, parseGates } from '../../bench/harness/gates.js';
import { type BenchResult, RESULT_VERSION } from '../../bench/harness/result.js';

test('figures are found among what a benchmark prints for people', () => {
  const output = 'find 2 ms\nfigures: {"cold":0.5}\nmore\nfigures: {"again":1}\n';
  expect(parseFigures(output)).toEqual({ cold: 0.5, again: 1 });
});

test('a gate holds up to its bound, and not where nothing was measured', () => {
  const gates = [
    { figure: 'cold', what: 'time', atMost: 0.9 },
    { figure: 'rate', what: 'rate', atLeast: 2.5 },
    { figure: 'lost', what: 'lost', atMost: 1 },
  ];
  const holds = (figures: Record<string, number>): boolean[] =>
    judgeFigures(gates, figures).map((verdict) => verdict.holds);
  expect(holds({ cold: 0.9, rate: 2.5, lost: 0 })).toEqual([true, true, true]);
  expect(holds({ cold: 0.91, rate: 2.49 })).toEqual([false, false, false]);
});

test('a gate of starts is about the median of the ratios within rounds', () => {
  const gate = { scenario: 'cold-start', contestant: 'siphon', metric: 'ms' as const, what: 'x' };
  const result = resultOf([100, 200, 1000], [90, 100, 2000]);
  const [verdict] = judgeStarts([{ ...gate, atMost: 0.9 }], result);
  expect(verdict).toMatchObject({ value: 0.9, holds: true });
  const [broken] = judgeStarts([{ ...gate, atMost: 0.89 }], result);
  expect(broken?.holds).toBe(false);
  const [absent] = judgeStarts([{ ...gate, contestant: 'nobody', atMost: 9 }], result);
  expect(absent?.holds).toBe(false);
});

test('the file of gates is one, and every gate has a bound', async () => {
  const { benchmarks, starts } = parseGates(await readFile('bench/gates.json', 'utf8'));
  const all = [...benchmarks.flatMap(({ gates }) => gates), ...starts.gates];
  for (const { what, atMost, atLeast } of all) expect(atMost ?? atLeast, what).toBeDefined();
  expect(() => parseGates('{"benchmarks":[]}')).toThrow('starts');
});

function resultOf(baseline: readonly number[], siphon: readonly number[]): BenchResult {
  const row = (contestant: string, times: readonly number[]) => ({
    contestant,
    runs: times.map((ms, n) => ({ round: n + 1, ms })),
  });
  return {
    version: RESULT_VERSION,
    command: '',
    startedAt: '',
    finishedAt: '',
    environment: {
      siphon: '',
      node: '',
      kernel: '',
      system: '',
      processor: '',
      processors: 1,
      memoryBytes: 1,
      fileSystem: '',
      loadBefore: 0,
      loadAfter: 0,
    },
    contestants: [],
    images: [],
    troubles: [],
    scenarios: [
      {
        name: 'cold-start',
        title: '',
        description: '',
        baseline: 'overlayfs',
        rows: [row('overlayfs', baseline), row('siphon', siphon)],
      },
    ],
  };
}

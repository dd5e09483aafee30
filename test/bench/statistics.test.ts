import { describe, expect, test } from 'vitest';
import type { Run, ScenarioResult } from '../../bench/harness/result.js';
import {
  quantile,
  ratiosOf,
  summarize,
  summarizeScenario,
} from '../../bench/harness/statistics.js';

const ms = (round: number, time: number): Run => ({ round, ms: time });
const failed = (round: number): Run => ({ round, errors: ['wrong output'] });

describe('quantile', () => {
  test('is the middle one of an odd count, whatever their order', () => {
    expect(quantile([9, 1, 5], 0.5)).toBe(5);
  });
  test('lies between the two in the middle of an even count', () => {
    expect(quantile([4, 1, 2, 3], 0.5)).toBe(2.5);
  });
  test('reaches both ends', () => {
    expect(quantile([3, 1, 2], 0)).toBe(1);
    expect(quantile([3, 1, 2], 1)).toBe(3);
  });
  test('interpolates', () => {
    expect(quantile([0, 10], 0.9)).toBeCloseTo(9);
  });
});

describe('summarize', () => {
  test('tells middle, ends and count', () => {
    expect(summarize([10, 2, 1])).toEqual({ median: 2, least: 1, greatest: 10, count: 3 });
  });
  test('says nothing about nothing', () => {
    expect(summarize([])).toBeUndefined();
  });
});

describe('ratiosOf', () => {
  test('divides within a round, however the rounds are ordered', () => {
    const runs = [ms(2, 30), ms(1, 10)];
    const baseline = [ms(1, 20), ms(2, 300)];
    expect(ratiosOf(runs, baseline, (run) => run.ms)).toEqual([0.1, 0.5]);
  });
  test('leaves out rounds where either side failed or did not run', () => {
    const runs = [ms(1, 1), failed(2), ms(3, 1), ms(4, 1)];
    const baseline = [ms(1, 2), ms(2, 2), failed(3)];
    expect(ratiosOf(runs, baseline, (run) => run.ms)).toEqual([0.5]);
  });
  test('leaves out what cannot be divided by', () => {
    expect(ratiosOf([ms(1, 1)], [ms(1, 0)], (run) => run.ms)).toEqual([]);
  });
});

describe('summarizeScenario', () => {
  const traffic = (bytes: number) => ({ bytes, requests: 1, pieces: [] });
  const process = { name: 'serve', peakRssBytes: 9, peakPssBytes: 5, cpuMs: 2 };
  const scenario: ScenarioResult = {
    name: 'cold-start',
    title: 'Cold start',
    description: '',
    baseline: 'full',
    rows: [
      {
        contestant: 'full',
        runs: [
          { round: 1, ms: 100, traffic: traffic(1000) },
          { round: 2, ms: 400, traffic: traffic(1000) },
          { round: 3, ms: 200, traffic: traffic(1000) },
        ],
      },
      {
        contestant: 'lazy',
        runs: [
          { round: 1, ms: 50, traffic: traffic(10), processes: [process, process] },
          { round: 2, ms: 100, traffic: traffic(20) },
          failed(3),
        ],
      },
    ],
  };

  test('takes the median of ratios, which is not the ratio of medians', () => {
    const [, lazy] = summarizeScenario(scenario);
    expect(lazy?.values.ms?.median).toBe(75);
    expect(lazy?.ratios.ms).toEqual({ median: 0.375, least: 0.25, greatest: 0.5, count: 2 });
    expect(lazy?.ratios.bytes?.median).toBeCloseTo(0.015);
  });
  test('adds up the processes of a run', () => {
    const [full, lazy] = summarizeScenario(scenario);
    expect(lazy?.values.pssBytes).toEqual({ median: 10, least: 10, greatest: 10, count: 1 });
    expect(lazy?.values.cpuMs?.median).toBe(4);
    expect(full?.values.pssBytes).toBeUndefined();
  });
  test('counts runs in error apart', () => {
    const [full, lazy] = summarizeScenario(scenario);
    expect(full?.failedRuns).toBe(0);
    expect(lazy?.failedRuns).toBe(1);
    expect(lazy?.values.ms?.count).toBe(2);
  });
  test('has no ratios without a baseline that ran', () => {
    const [first] = summarizeScenario({ ...scenario, baseline: 'absent' });
    expect(first?.ratios).toEqual({});
  });
});

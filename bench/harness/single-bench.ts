/**
 * What the single benchmarks share, those beside the scenarios of `siphon bench`: a folder that goes at the end, and
 * two sides that take turns.
 */

import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { onInterrupt } from '#src/cli/interruption.js';
import { removePlace } from '../programs/remove-place.js';
import { type Summary, summarize } from './statistics.js';

/**
 * Runs a benchmark in a folder of its own below `within`; whatever happens, Ctrl-C too, nothing of it is left.
 * @param work is to end soon after the signal
 */
export async function singleBench(
  within: string,
  work: (folder: string, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const signal = onInterrupt();
  const folder = await mkdtemp(join(within, 'siphon-measure-'));
  try {
    await work(folder, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
    process.exitCode = 130;
  } finally {
    await removePlace(folder);
  }
}

/** What two sides took, and the ratio of theirs within rounds: the second's by the first's. */
export interface Compared {
  first: Summary;
  second: Summary;
  ratio: Summary;
}

export interface CompareOptions {
  /** At least 1. */
  rounds: number;
  signal: AbortSignal;
}

/**
 * Two sides in turns; who begins changes from round to round, since whoever comes second may find the machine as the
 * first left it.
 * @param measure what is measured of a side, such as milliseconds; more than 0
 */
export async function compareSides<S extends string>(
  [first, second]: readonly [S, S],
  { rounds, signal }: CompareOptions,
  measure: (side: S) => Promise<number>,
): Promise<Compared> {
  const found: Record<string, number>[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const order = round % 2 === 0 ? [first, second] : [second, first];
    const one: Record<string, number> = {};
    for (const side of order) {
      signal.throwIfAborted();
      one[side] = await measure(side);
    }
    found.push(one);
  }
  const of = (side: S): number[] => found.map((one) => one[side] ?? Number.NaN);
  return {
    first: summary(of(first)),
    second: summary(of(second)),
    ratio: summary(found.map((one) => (one[second] ?? Number.NaN) / (one[first] ?? Number.NaN))),
  };
}

/** @throws Error where there are no numbers */
export function summary(numbers: readonly number[]): Summary {
  const found = summarize(numbers);
  if (found === undefined) throw new Error('Cannot sum up no numbers: expected a round at least');
  return found;
}

/** Milliseconds that some work takes. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await work();
  return performance.now() - begin;
}

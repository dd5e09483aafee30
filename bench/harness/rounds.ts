/**
 * Who runs when: in each round everyone once, one after the other, in an order that turns from round to round, so
 * that what the machine does meanwhile meets all of them alike. A run that fails is noted as such, and the others
 * go on.
 */

import type { FailedRun, Run } from './result.js';

export interface RoundsOptions {
  rounds: number;
  signal: AbortSignal;
}

/**
 * @param work one round of one contestant; what it throws is the error of its run
 * @returns what each contestant's rounds gave, in order
 */
export async function takeTurns<C, T>(
  contestants: readonly C[],
  { rounds, signal }: RoundsOptions,
  work: (contestant: C, round: number) => Promise<T>,
): Promise<Map<C, (T | FailedRun)[]>> {
  const results = new Map(contestants.map((one) => [one, [] as (T | FailedRun)[]]));
  for (let round = 1; round <= rounds; round += 1) {
    for (const contestant of rotated(contestants, round - 1)) {
      signal.throwIfAborted();
      const result = await work(contestant, round).catch((error: unknown) => {
        signal.throwIfAborted();
        return failedRun(round, error);
      });
      results.get(contestant)?.push(result);
    }
  }
  return results;
}

export function failedRun(round: number, error: unknown): FailedRun {
  return { round, errors: [error instanceof Error ? error.message : String(error)] };
}

/** The measured run, unless something speaks against it. */
export function validRun<R extends Run>(run: R, objections: readonly string[]): R | FailedRun {
  return objections.length === 0 ? run : { round: run.round, errors: [...objections] };
}

function rotated<C>(all: readonly C[], by: number): C[] {
  const start = all.length === 0 ? 0 : by % all.length;
  return [...all.slice(start), ...all.slice(0, start)];
}

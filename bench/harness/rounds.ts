/**
 * Who runs when: in each round everyone once, one after the other, in an order that turns from round to round, so
 * that what the machine does meanwhile meets all of them alike. A run that fails or takes too long is noted as such,
 * and the others go on.
 */

import type { FailedRun, Run } from './result.js';

export interface RoundsOptions<C, T> {
  rounds: number;
  signal: AbortSignal;
  /** Milliseconds that one turn may take. */
  turnTimeout: number;
  /** Told after each turn what all have given so far. */
  onTurn?: (soFar: Turns<C, T>) => Promise<void>;
}

/** What each contestant's rounds gave, in order. */
export type Turns<C, T> = ReadonlyMap<C, readonly (T | FailedRun)[]>;

/** One contestant's turn in one round. */
export interface Turn {
  /** Counts from 1. */
  round: number;
  /** Aborted when the turn has to end. */
  signal: AbortSignal;
}

/** @param work one round of one contestant; what it throws is the error of its run */
export async function takeTurns<C, T>(
  contestants: readonly C[],
  { rounds, signal, turnTimeout, onTurn }: RoundsOptions<C, T>,
  work: (contestant: C, turn: Turn) => Promise<T>,
): Promise<Turns<C, T>> {
  const results = new Map(contestants.map((one) => [one, [] as (T | FailedRun)[]]));
  for (let round = 1; round <= rounds; round += 1) {
    for (const contestant of rotated(contestants, round - 1)) {
      signal.throwIfAborted();
      const limit = new AbortController();
      const late = new Error(`it was ended: not done after ${turnTimeout / 1000} s`);
      const timer = setTimeout(() => limit.abort(late), turnTimeout);
      const turn = { round, signal: AbortSignal.any([signal, limit.signal]) };
      const result = await work(contestant, turn)
        .catch((error: unknown) => failedRun(round, limit.signal.aborted ? late : error))
        .finally(() => clearTimeout(timer));
      signal.throwIfAborted();
      results.get(contestant)?.push(result);
      await onTurn?.(results);
    }
  }
  return results;
}

function failedRun(round: number, error: unknown): FailedRun {
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

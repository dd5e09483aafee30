import { expect, test } from 'vitest';
import { takeTurns, validRun } from '../../bench/harness/rounds.js';

const { signal } = new AbortController();
const options = { signal, turnTimeout: 60_000 };

test('everyone runs once a round, and each begins a round in turn', async () => {
  const order: string[] = [];
  await takeTurns(['a', 'b', 'c'], { ...options, rounds: 3 }, (who, { round }) => {
    order.push(`${who}${round}`);
    return Promise.resolve();
  });
  expect(order).toEqual(['a1', 'b1', 'c1', 'b2', 'c2', 'a2', 'c3', 'a3', 'b3']);
});

test('a run that fails is an error of its round, and the others go on', async () => {
  const results = await takeTurns(['good', 'bad'], { ...options, rounds: 2 }, (who, { round }) =>
    who === 'bad' && round === 1 ? Promise.reject(new Error('broke')) : Promise.resolve(round),
  );
  expect(results.get('good')).toEqual([1, 2]);
  expect(results.get('bad')).toEqual([{ round: 1, errors: ['broke'] }, 2]);
});

test('one that never ends is told to, and is an error; the others go on', async () => {
  const turns = { signal, turnTimeout: 50, rounds: 2 };
  const results = await takeTurns(['good', 'hangs'], turns, (who, turn) =>
    who === 'good'
      ? Promise.resolve(turn.round)
      : new Promise((_, reject) => {
          turn.signal.addEventListener('abort', () => reject(new Error('was told to end')));
        }),
  );
  expect(results.get('good')).toEqual([1, 2]);
  const late = ['it was ended: not done after 0.05 s'];
  expect(results.get('hangs')).toEqual([1, 2].map((round) => ({ round, errors: late })));
});

test('after each turn it is told what there is', async () => {
  const told: (number | undefined)[][] = [];
  const onTurn = (soFar: ReadonlyMap<string, readonly unknown[]>): Promise<void> => {
    told.push(['a', 'b'].map((who) => soFar.get(who)?.length));
    return Promise.resolve();
  };
  await takeTurns(['a', 'b'], { ...options, rounds: 2, onTurn }, () => Promise.resolve());
  expect(told).toEqual([
    [1, 0],
    [1, 1],
    [1, 2],
    [2, 2],
  ]);
});

test('an interruption ends the rounds instead of being an error of a run', async () => {
  const controller = new AbortController();
  const running = takeTurns(['a'], { ...options, rounds: 5, signal: controller.signal }, () => {
    controller.abort(new Error('enough'));
    return Promise.reject(new Error('killed'));
  });
  await expect(running).rejects.toThrow('enough');
});

test('a run that something speaks against has no number', () => {
  const run = { round: 2, ms: 5 };
  expect(validRun(run, [])).toBe(run);
  expect(validRun(run, ['it was not lazy'])).toEqual({ round: 2, errors: ['it was not lazy'] });
});

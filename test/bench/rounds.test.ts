import { expect, test } from 'vitest';
import { takeTurns, validRun } from '../../bench/harness/rounds.js';

const { signal } = new AbortController();

test('everyone runs once a round, and each begins a round in turn', async () => {
  const order: string[] = [];
  await takeTurns(['a', 'b', 'c'], { rounds: 3, signal }, (who, round) => {
    order.push(`${who}${round}`);
    return Promise.resolve();
  });
  expect(order).toEqual(['a1', 'b1', 'c1', 'b2', 'c2', 'a2', 'c3', 'a3', 'b3']);
});

test('a run that fails is an error of its round, and the others go on', async () => {
  const results = await takeTurns(['good', 'bad'], { rounds: 2, signal }, (who, round) =>
    who === 'bad' && round === 1 ? Promise.reject(new Error('broke')) : Promise.resolve(round),
  );
  expect(results.get('good')).toEqual([1, 2]);
  expect(results.get('bad')).toEqual([{ round: 1, errors: ['broke'] }, 2]);
});

test('an interruption ends the rounds instead of being an error of a run', async () => {
  const controller = new AbortController();
  const running = takeTurns(['a'], { rounds: 5, signal: controller.signal }, () => {
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

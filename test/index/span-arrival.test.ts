import { expect, test } from 'vitest';
import { Urgency } from '#src/common/urgency.js';
import { SharedArrival, SoleArrival } from '#src/index/span-arrival.js';

test('who has left already waits for nothing, and work that nobody waits for is given up', async () => {
  const left = AbortSignal.abort();
  let isGivenUp = false;
  const giveUp = (): void => void (isGivenUp = true);
  const shared = new SharedArrival(0, new Promise(() => {}), new Urgency('waiting'), giveUp);
  await expect(shared.wait(left)).rejects.toMatchObject({ code: 'cancelled' });
  expect(isGivenUp).toBe(true);
  const sole = new SoleArrival(0, new Urgency('waiting'));
  await expect(sole.wait(left)).rejects.toMatchObject({ code: 'cancelled' });
});

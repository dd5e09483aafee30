import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'vitest';

/** Asks again and again, for half a minute and longer where asking takes time. */
export async function until(condition: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; !(await condition()); tries++) {
    expect(tries).toBeLessThan(600);
    await delay(50);
  }
}

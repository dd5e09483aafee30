import { describe, expect, it } from 'vitest';
import { SharedWork } from '#src/common/shared-work.js';

const never = new AbortController().signal;

describe('SharedWork', () => {
  it('does the work of many callers once', async () => {
    const shared = new SharedWork<string, number>();
    let runs = 0;
    const work = async (): Promise<number> => {
      await new Promise((resolve) => setImmediate(resolve));
      return ++runs;
    };
    const results = await Promise.all([1, 2, 3].map(() => shared.run('a', never, work)));
    expect(results).toEqual([1, 1, 1]);
    expect(await shared.run('a', never, work)).toBe(2);
  });

  it('forgets a failure', async () => {
    const shared = new SharedWork<string, number>();
    await expect(shared.run('a', never, () => Promise.reject(new Error('no')))).rejects.toThrow(
      'no',
    );
    expect(await shared.run('a', never, () => Promise.resolve(7))).toBe(7);
  });

  it('goes on while one caller still waits, and is cancelled with the last', async () => {
    const shared = new SharedWork<string, number>();
    const callers = [new AbortController(), new AbortController()];
    let cancelled = false;
    const work = (signal: AbortSignal): Promise<number> =>
      new Promise((_, reject) => {
        signal.addEventListener('abort', () => {
          cancelled = true;
          reject(new Error('stopped'));
        });
      });
    const waits = callers.map((caller) => shared.run('a', caller.signal, work));
    callers[0]?.abort();
    await expect(waits[0]).rejects.toMatchObject({ code: 'cancelled' });
    expect(cancelled).toBe(false);
    callers[1]?.abort();
    await expect(waits[1]).rejects.toMatchObject({ code: 'cancelled' });
    expect(cancelled).toBe(true);
  });

  it('refuses a caller that has given up already', async () => {
    const shared = new SharedWork<string, number>();
    const work = (): Promise<number> => Promise.reject(new Error('must not run'));
    await expect(shared.run('a', AbortSignal.abort(), work)).rejects.toMatchObject({
      code: 'cancelled',
    });
  });
});

import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { defaultRetry, defaultTimeouts } from '#src/remote/policy.js';
import { RemoteError } from '#src/remote/remote-error.js';
import { retryDelay, withRetries } from '#src/remote/retry.js';

const retry = { ...defaultRetry, attempts: 4, firstDelay: 1, maxDelay: 4, random: () => 0.5 };
const context = (overrides: { signal?: AbortSignal; total?: number } = {}) => ({
  retry,
  timeouts: { ...defaultTimeouts, total: overrides.total ?? 5000 },
  signal: overrides.signal ?? new AbortController().signal,
  task: 'try',
});
const down = () => new RemoteError('unavailable', 'down');

describe('withRetries', () => {
  test('repeats what may pass', async () => {
    let attempts = 0;
    const result = await withRetries(context(), async () => {
      attempts += 1;
      if (attempts < 3) throw down();
      return attempts;
    });
    expect(result).toBe(3);
  });

  test('gives an upload of a great many bytes the time that it may take', async () => {
    const sent = withRetries({ ...context(), bytes: 80e9 }, async (signal) => {
      await delay(20);
      signal.throwIfAborted();
      return 'sent';
    });
    expect(await sent).toBe('sent');
  });

  test('gives up after the last attempt with its error', async () => {
    let attempts = 0;
    const running = withRetries(context(), async () => {
      attempts += 1;
      throw new RemoteError('unavailable', `down ${attempts}`);
    });
    await expect(running).rejects.toThrow('down 4');
  });

  test.each([
    new RemoteError('not-found', 'gone'),
    new RemoteError('corrupt', 'bad'),
    new RemoteError('unavailable', 'bad certificate', { permanent: true }),
    new TypeError('a defect'),
  ])('does not repeat %s', async (error) => {
    let attempts = 0;
    const running = withRetries(context(), async () => {
      attempts += 1;
      throw error;
    });
    await expect(running).rejects.toBe(error);
    expect(attempts).toBe(1);
  });

  test('ends with the total time, whatever an attempt waits for', async () => {
    const running = withRetries(context({ total: 20 }), (signal) => waitForAbort(signal));
    await expect(running).rejects.toMatchObject({ code: 'timeout' });
  });

  test('ends with the caller’s signal, also between attempts', async () => {
    const controller = new AbortController();
    const slow = { ...context({ signal: controller.signal }) };
    slow.retry = { ...retry, firstDelay: 60_000, maxDelay: 60_000 };
    const running = withRetries(slow, async () => {
      setTimeout(() => controller.abort(), 5);
      throw down();
    });
    await expect(running).rejects.toMatchObject({ code: 'cancelled' });
  });
});

describe('retryDelay', () => {
  test('doubles up to the bound', () => {
    const full = { ...defaultRetry, firstDelay: 100, maxDelay: 1000, random: () => 1 };
    expect([1, 2, 3, 4, 5].map((n) => retryDelay(full, n, down()))).toEqual([
      100, 200, 400, 800, 1000,
    ]);
  });

  test('adds what the server asks for, within a bound of its own', () => {
    const limits = { firstDelay: 100, maxDelay: 1000, maxRetryAfter: 5000 };
    const policy = { ...defaultRetry, ...limits, random: () => 0.5 };
    const asked = (retryAfter: number) => new RemoteError('unavailable', 'busy', { retryAfter });
    expect(retryDelay(policy, 1, asked(2000))).toBe(2050);
    expect(retryDelay(policy, 1, asked(60_000))).toBe(5050);
  });
});

function waitForAbort(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(new Error('aborted')));
  });
}

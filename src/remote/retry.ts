/** Trying again: exponential backoff with full jitter, within one deadline over all attempts. */

import { setTimeout as sleep } from 'node:timers/promises';
import type { RemoteTimeouts, RetryPolicy } from './policy.js';
import { RemoteError, isRetryable } from './remote-error.js';
import { Watchdog, cancellation } from './watchdog.js';

export interface RetryContext {
  retry: RetryPolicy;
  timeouts: RemoteTimeouts;
  signal: AbortSignal;
  /** For the message when the time is over: `read "example.org/app@sha256:…"`. */
  task: string;
  /** Bytes that come or go; a slow link gets more time for more of them. */
  bytes?: number;
  onRetry?: (error: unknown, attempt: number) => void;
}

/** Bytes per second below which a transfer is given up. */
const SLOWEST_RATE = 32 * 1024;

/**
 * Runs `attempt` until it succeeds, fails for good, or attempts or time are over.
 * @throws the last attempt's error; SiphonError `timeout` after the total time, or the signal's reason
 */
export async function withRetries<T>(
  context: RetryContext,
  attempt: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { timeouts, retry, task } = context;
  using watchdog = new Watchdog(context.signal);
  const limit = timeouts.total + ((context.bytes ?? 0) / SLOWEST_RATE) * 1000;
  watchdog.watch(limit, () => new RemoteError('timeout', `Cannot ${task}: not done in time`));
  for (let number = 1; ; number += 1) {
    try {
      return await attempt(watchdog.signal);
    } catch (error) {
      if (watchdog.signal.aborted) throw cancellation(watchdog.signal);
      if (!isRetryable(error) || number >= retry.attempts) throw error;
      context.onRetry?.(error, number);
      await pause(retryDelay(retry, number, error), watchdog.signal);
    }
  }
}

/** Milliseconds to wait after attempt `number` (from 1) failed with `error`. */
export function retryDelay(retry: RetryPolicy, number: number, error: unknown): number {
  const bound = Math.min(retry.maxDelay, retry.firstDelay * 2 ** (number - 1));
  const asked = error instanceof RemoteError ? (error.retryAfter ?? 0) : 0;
  return Math.min(retry.maxRetryAfter, asked) + retry.random() * bound;
}

/** @throws the signal's cancellation */
export async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(milliseconds, undefined, { signal });
  } catch {
    throw cancellation(signal);
  }
}

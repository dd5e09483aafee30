/**
 * Which hosts have kept somebody waiting for nothing of late: those that could not be reached, that said nothing, or
 * that all but did. Such a host rests, longer each time, and is asked last meanwhile; it is never left out, for it
 * may be the only one that has what is wanted. When its rest is over it is asked for a sign of life beside the
 * requests, which go elsewhere until it gives one: a read never waits to find out.
 */

import { errorCode } from '../common/errors.js';
import { isRetryable, isUnreachable } from './remote-error.js';

/** In ms; a rest is twice as long as the one before. */
const FIRST_REST = 30_000;
const LONGEST_REST = 600_000;
/** Hosts in trouble that are told apart; the oldest are forgotten. */
const MAX_HOSTS = 64;

interface Trouble {
  failures: number;
  /** By the clock of `performance`. */
  restsUntil: number;
  isProbed: boolean;
}

export interface WatchedHost {
  /** As dialed. */
  readonly name: string;
  /** Fails where the host is as it was. */
  probe?: () => Promise<void>;
}

const troubles = new Map<string, Trouble>();

/** Whether others are to be asked first; may look whether the host is back. */
export function isResting(host: WatchedHost, now = performance.now()): boolean {
  const trouble = troubles.get(host.name);
  if (trouble === undefined || trouble.restsUntil === 0) return false;
  if (trouble.isProbed || now < trouble.restsUntil) return true;
  if (host.probe === undefined) return false;
  void probe(host.probe, trouble);
  return true;
}

/** Notes what a request to the host failed with. */
export function noteFailure({ name }: WatchedHost, error: unknown, now = performance.now()): void {
  const isWaste = isUnreachable(error) || (isRetryable(error) && errorCode(error) === 'timeout');
  if (!isWaste) return;
  const trouble = troubles.get(name) ?? { failures: 0, restsUntil: 0, isProbed: false };
  // Requests that ran at once fail at once.
  if (trouble.failures > 0 && trouble.restsUntil > now) return;
  troubles.delete(name);
  troubles.set(name, trouble);
  rest(trouble, now);
  const [oldest] = troubles.keys();
  if (troubles.size > MAX_HOSTS && oldest !== undefined) troubles.delete(oldest);
}

/** Notes that the host did what it was asked for. */
export function noteSuccess({ name }: WatchedHost): void {
  troubles.delete(name);
}

function rest(trouble: Trouble, now: number): void {
  trouble.restsUntil = now + Math.min(LONGEST_REST, FIRST_REST * 2 ** trouble.failures);
  trouble.failures += 1;
}

/** A sign of life ends the rest; that there was trouble is forgotten when a request succeeds. */
async function probe(ask: () => Promise<void>, trouble: Trouble): Promise<void> {
  trouble.isProbed = true;
  try {
    await ask();
    trouble.restsUntil = 0;
  } catch (error) {
    // A client that was closed meanwhile has learnt nothing.
    if (errorCode(error) !== 'cancelled') rest(trouble, performance.now());
  } finally {
    trouble.isProbed = false;
  }
}

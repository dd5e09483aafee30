/**
 * Several hosts for the same thing, those that kept others waiting for nothing last. What each of them fails with says whether it is worth asking again;
 * the last host, the registry itself, knows what is there and what is not.
 */

import { SiphonError, errorCode } from '../common/errors.js';
import { type WatchedHost, isResting, noteFailure, noteSuccess } from './host-health.js';
import { isRetryable } from './remote-error.js';
import { throwIfCancelled } from './watchdog.js';

export interface HostsContext {
  /** As in `Cannot <task>: …`. */
  task: string;
  signal: AbortSignal;
  /** How many hosts are passed over because what they gave before was wrong. */
  skip?: number;
  onFailure?: (error: unknown, attempt: number) => void;
}

/**
 * Makes `attempt` at one host after the other until it succeeds.
 * @param hosts in the order of preference
 * @throws an error worth trying again where there is one, unless the last host does not have it or cannot do it;
 * SiphonError `unsupported` where there is no host
 */
export async function eachHost<H extends WatchedHost, T>(
  hosts: readonly H[],
  { task, signal, skip = 0, onFailure }: HostsContext,
  attempt: (host: H) => Promise<T>,
): Promise<T> {
  if (hosts.length === 0) {
    throw new SiphonError(
      'unsupported',
      `Cannot ${task}: no host is configured to be asked for it`,
    );
  }
  const failures = new Map<H, unknown>();
  for (const host of inOrder(hosts, skip)) {
    try {
      const result = await attempt(host);
      noteSuccess(host);
      return result;
    } catch (error) {
      throwIfCancelled(signal);
      failures.set(host, error);
      noteFailure(host, error);
      if (failures.size < hosts.length) onFailure?.(error, failures.size);
    }
  }
  throw tellingFailure(hosts, failures);
}

function inOrder<H extends WatchedHost>(hosts: readonly H[], skip: number): H[] {
  const resting = hosts.length === 1 ? new Set() : new Set(hosts.filter((host) => isResting(host)));
  const ordered = hosts.toSorted((a, b) => Number(resting.has(a)) - Number(resting.has(b)));
  const first = skip % hosts.length;
  return [...ordered.slice(first), ...ordered.slice(0, first)];
}

/** The registry itself knows what is not there, and what has to be done otherwise; else what may pass counts more than what will not. */
function tellingFailure<H>(hosts: readonly H[], failures: ReadonlyMap<H, unknown>): unknown {
  const last = hosts.at(-1);
  const final = last === undefined ? undefined : failures.get(last);
  const code = errorCode(final);
  if (code === 'not-found' || code === 'unsupported' || isRetryable(final)) return final;
  return [...failures.values()].find(isRetryable) ?? final;
}

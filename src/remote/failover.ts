/**
 * Several hosts for the same thing. One that could not be reached stands back for a while, so that not
 * every request waits for it first. What each of them fails with says whether it is worth asking again;
 * the last host, the registry itself, knows what is there and what is not.
 */

import { SiphonError, errorCode } from '../common/errors.js';
import { isRetryable, isUnreachable } from './remote-error.js';
import { throwIfCancelled } from './watchdog.js';

/** How long a host that could not be reached is asked last, in ms. */
const STAND_BACK = 30_000;

/** Until when, by the clock of `performance`; of hosts as dialed. */
const absent = new Map<string, number>();

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
 * @throws an error worth trying again where there is one, unless the last host does not have it;
 * SiphonError `unsupported` where there is no host
 */
export async function eachHost<H extends { readonly name: string }, T>(
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
      absent.delete(host.name);
      return result;
    } catch (error) {
      throwIfCancelled(signal);
      failures.set(host, error);
      if (isUnreachable(error)) absent.set(host.name, performance.now() + STAND_BACK);
      if (failures.size < hosts.length) onFailure?.(error, failures.size);
    }
  }
  throw tellingFailure(hosts, failures);
}

function inOrder<H extends { readonly name: string }>(hosts: readonly H[], skip: number): H[] {
  const now = performance.now();
  const isAbsent = ({ name }: H): boolean => (absent.get(name) ?? 0) > now;
  const present = [...hosts.filter((host) => !isAbsent(host)), ...hosts.filter(isAbsent)];
  const first = skip % hosts.length;
  return [...present.slice(first), ...present.slice(0, first)];
}

/** The registry itself knows what is not there; else what may pass counts more than what will not. */
function tellingFailure<H>(hosts: readonly H[], failures: ReadonlyMap<H, unknown>): unknown {
  const last = hosts.at(-1);
  const final = last === undefined ? undefined : failures.get(last);
  if (errorCode(final) === 'not-found' || isRetryable(final)) return final;
  return [...failures.values()].find(isRetryable) ?? final;
}

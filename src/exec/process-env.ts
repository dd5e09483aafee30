/** The environment of a container's process. */

import { SiphonError } from '../common/errors.js';
import type { ImageProcess } from './image-process.js';
import type { ProcessOverrides } from './run-options.js';

export const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * `NAME=value` each, no name twice: defaults, then the image's, then the given ones, then `HOME`
 * where it is still missing.
 * @param home the home folder of the process's user
 * @param callerEnv gives the values of variables that are given by name alone
 * @throws SiphonError `usage` on a given variable without a name
 */
export function processEnv(
  image: ImageProcess,
  overrides: ProcessOverrides,
  home: string,
  callerEnv: NodeJS.ProcessEnv = process.env,
): string[] {
  const env = new Map([['PATH', DEFAULT_PATH]]);
  if (overrides.terminal === true) env.set('TERM', 'xterm');
  for (const entry of image.Env ?? []) {
    const equals = entry.indexOf('=');
    if (equals > 0) env.set(entry.slice(0, equals), entry.slice(equals + 1));
  }
  for (const entry of overrides.env ?? []) applyGiven(env, entry, callerEnv);
  if (!env.get('HOME')) env.set('HOME', home);
  return [...env].map(([name, value]) => `${name}=${value}`);
}

/** `env` with the given variables, by name or with their value, in the place of those of the same name. */
export function applyGivenEnv(
  env: readonly string[],
  given: readonly string[],
  callerEnv: NodeJS.ProcessEnv = process.env,
): string[] {
  const merged = new Map(
    env.map((entry) => [nameOf(entry), entry.slice(nameOf(entry).length + 1)]),
  );
  for (const entry of given) applyGiven(merged, entry, callerEnv);
  return [...merged].map(([name, value]) => `${name}=${value}`);
}

/** The value of `name` in `env`, or `undefined`. */
export function envValue(env: readonly string[], name: string): string | undefined {
  return env.find((entry) => entry.startsWith(`${name}=`))?.slice(name.length + 1);
}

function applyGiven(env: Map<string, string>, entry: string, callerEnv: NodeJS.ProcessEnv): void {
  const equals = entry.indexOf('=');
  const name = nameOf(entry);
  if (name === '') {
    throw new SiphonError('usage', `Cannot set variable "${entry}": expected NAME=value or NAME`);
  }
  const value = equals < 0 ? callerEnv[name] : entry.slice(equals + 1);
  if (value === undefined) env.delete(name);
  else env.set(name, value);
}

function nameOf(entry: string): string {
  const equals = entry.indexOf('=');
  return equals < 0 ? entry : entry.slice(0, equals);
}

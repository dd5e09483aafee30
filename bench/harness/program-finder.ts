/** Programs of this machine: where the user says they are, else on the path. */

import { createHash } from 'node:crypto';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { execute } from '../programs/execute.js';

export class ProgramFinder {
  readonly #named: ReadonlyMap<string, string>;
  /** For programs that are made of their sources. */
  readonly cache: string;

  /** @param named paths by name */
  constructor(named: ReadonlyMap<string, string>, cache: string) {
    this.#named = named;
    this.cache = cache;
  }

  /** @returns its path, or `undefined` */
  find(name: string): string | undefined {
    const named = this.#named.get(name);
    if (named !== undefined) return named;
    const folders = `${process.env['PATH'] ?? ''}:/usr/sbin:/usr/bin:/sbin:/bin`.split(delimiter);
    return folders.map((folder) => join(folder, name)).find(isExecutable);
  }

  /** @returns its path @throws Error where there is none */
  require(name: string): string {
    const path = this.find(name);
    if (path === undefined) throw new Error(`Cannot find program "${name}": it is not on the path`);
    return path;
  }

  /** @returns those of `names` that are not here */
  missing(...names: string[]): string[] {
    return names.filter((name) => this.find(name) === undefined);
  }

  /** What a program says of its version, `unknown` where it says nothing of the kind. */
  async version(name: string, ...args: string[]): Promise<string> {
    const words = args.length === 0 ? ['--version'] : args;
    const text = await execute(this.require(name), words).catch(() => '');
    return /\d+\.\d+[\w.~+-]*/.exec(text)?.[0] ?? 'unknown';
  }
}

/** Short enough for names, and different for different texts. */
export function shortHash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 12);
}

/** Whether there is a program that this process may run. */
export function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

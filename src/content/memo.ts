/**
 * Small facts that are worth keeping between runs but may be lost at any time: which digest a tag had
 * when it was last asked for, which digest a local file has. One file each, named by its key's hash.
 */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { z } from 'zod';
import { writeFileAtomic } from '../common/atomic-file.js';
import { digestHex, digestOf } from '../common/digest.js';

export class Memo {
  readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
  }

  /** What was remembered; `undefined` also where it cannot be read or has another shape by now. */
  async recall<T>(key: string, schema: z.ZodType<T>): Promise<T | undefined> {
    try {
      const fact: unknown = JSON.parse(await readFile(this.#path(key), 'utf8'));
      if (typeof fact !== 'object' || fact === null || !('value' in fact)) return undefined;
      return schema.safeParse(fact.value).data;
    } catch {
      return undefined;
    }
  }

  /** @param value anything JSON can hold */
  async remember(key: string, value: unknown): Promise<void> {
    await writeFileAtomic(this.#path(key), JSON.stringify({ key, value }));
  }

  #path(key: string): string {
    return join(this.directory, `${digestHex(digestOf(key))}.json`);
  }
}

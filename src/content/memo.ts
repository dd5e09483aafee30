/**
 * Small facts that are worth keeping between runs but may be lost at any time: which digest a tag had
 * when it was last asked for, which digest a local file has. One file each, named by its key's hash.
 */

import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { z } from 'zod';
import { writeFileAtomic } from '../common/atomic-file.js';
import { type Digest, digestHex, digestOf, parseDigest } from '../common/digest.js';
import { fileExists } from '../common/file-exists.js';
import { removeOlder } from './remove-older.js';

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
    await writeFileAtomic(this.#path(key), JSON.stringify({ key, value }), { durable: false });
  }

  /**
   * Forgets what is about no blob that `isHere`, and about no file that is still there; what was
   * remembered at `before` or later stays.
   */
  async prune(isHere: (digest: Digest) => Promise<boolean>, before: number): Promise<void> {
    const forgotten: string[] = [];
    for (const name of await readdir(this.directory)) {
      const isFact = name.endsWith('.json');
      const path = join(this.directory, name);
      if (!isFact || !(await isStillAbout(path, isHere))) forgotten.push(name);
    }
    await removeOlder(this.directory, forgotten, before);
  }

  #path(key: string): string {
    return join(this.directory, `${digestHex(digestOf(key))}.json`);
  }
}

/** Blobs and files are named in keys and values as they are. */
async function isStillAbout(
  path: string,
  isHere: (digest: Digest) => Promise<boolean>,
): Promise<boolean> {
  const text = await readFile(path, 'utf8').catch(() => '');
  for (const [digest] of text.matchAll(/sha256:[0-9a-f]{64}/g)) {
    if (await isHere(parseDigest(digest))) return true;
  }
  const file = /^\{"key":"digest \[\\"(.*?)\\"/.exec(text)?.[1];
  return file !== undefined && (await fileExists(file));
}

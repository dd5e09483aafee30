/**
 * Blobs on their way into a content store, by reference. Of each there is a file that grows, and beside it
 * what is known about it. Whoever works on one holds its lock (flock(2)), which ends with the process; so
 * what nobody has locked was left by somebody and can be gone on with, and of two who want the same the
 * second waits for the first.
 */

import { randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type Digest, digestHex, digestOf, isDigest } from '../common/digest.js';
import { SiphonError } from '../common/errors.js';
import { field, fieldsOf } from '../common/own-json.js';
import { tryLockFile } from '../ffi/libc.js';
import { Ingest } from './ingest.js';
import { statOf } from './remove-older.js';

/** What is known beforehand about what will arrive. */
export interface Expected {
  digest?: Digest;
  /** Bytes. */
  total?: number;
}

/** As containerd's content service tells it. */
export interface IngestStatus {
  ref: string;
  /** Bytes that have arrived. */
  offset: number;
  total?: number;
  expected?: Digest;
  /** Milliseconds since 1970. */
  started: number;
  updated: number;
}

interface Facts {
  ref: string;
  expected?: Digest;
  total?: number;
  started: number;
}

const ANONYMOUS = 'new-';
const NAMED = /^[0-9a-f]{64}$/;
/** Milliseconds between looks at an ingest that another process is busy with. */
const TURN = 50;

export class IngestFolder {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Makes the folder, and removes what ended processes left that cannot be gone on with. */
  async prepare(): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    for (const name of await readdir(this.#directory)) {
      if (name.startsWith(ANONYMOUS)) await removeLeft(join(this.#directory, name));
    }
  }

  /** Removes the ingests that nobody works on, but for those that `isWanted`, and what belongs to none. */
  async abandon(isWanted: (ref: string) => boolean): Promise<void> {
    const names = await readdir(this.#directory);
    for (const name of names) {
      const path = join(this.#directory, name);
      if (NAMED.test(name)) await removeLeft(path, isWanted);
      else if (!name.startsWith(ANONYMOUS) && !names.includes(name.replace(/\.json$/, ''))) {
        await rm(path, { force: true });
      }
    }
  }

  /** Removes the ingest, where there is one. @returns whether nobody works on it */
  forget(ref: string): Promise<boolean> {
    return removeLeft(this.#path(ref));
  }

  /** An ingest of what nobody knows beforehand; it cannot be gone on with. */
  async anonymous(): Promise<Ingest> {
    const path = join(this.#directory, `${ANONYMOUS}${randomBytes(8).toString('hex')}`);
    const file = await open(path, 'a+', 0o600);
    tryLockFile(file.fd);
    return Ingest.resume(path, file);
  }

  /**
   * The ingest `ref`, begun or gone on with.
   * @returns `undefined` while somebody else works on it
   * @throws SiphonError `failed-precondition` where it was begun for another digest or size
   */
  async tryOpen(ref: string, expected: Expected = {}): Promise<Ingest | undefined> {
    const path = this.#path(ref);
    const file = await lockedFile(path);
    if (file === undefined) return undefined;
    try {
      await this.#describe(ref, expected);
    } catch (error) {
      await file.close();
      throw error;
    }
    return Ingest.resume(path, file, factsPath(path));
  }

  /**
   * As {@link tryOpen}, when it is one's turn.
   * @param isDone looked at whenever it might be; then there is nothing to do
   * @throws SiphonError `cancelled`
   */
  async open(
    ref: string,
    expected: Expected,
    { isDone, signal }: { isDone: () => Promise<boolean>; signal: AbortSignal },
  ): Promise<Ingest | undefined> {
    for (;;) {
      if (await isDone()) return undefined;
      const ingest = await this.tryOpen(ref, expected);
      if (ingest === undefined) await turn(ref, signal);
      else if (await isDone()) await ingest.discard();
      else return ingest;
    }
  }

  /** All that have a reference, by it. */
  async list(): Promise<IngestStatus[]> {
    const names = (await readdir(this.#directory)).filter((name) => NAMED.test(name));
    const found = await Promise.all(names.map((name) => this.#read(join(this.#directory, name))));
    return found
      .filter((status) => status !== undefined)
      .toSorted((a, b) => (a.ref < b.ref ? -1 : 1));
  }

  /** `undefined` where there is no such ingest. */
  status(ref: string): Promise<IngestStatus | undefined> {
    return this.#read(this.#path(ref));
  }

  /** @throws SiphonError `not-found`; `busy` while somebody works on it */
  async abort(ref: string): Promise<void> {
    if ((await this.status(ref)) === undefined) {
      throw new SiphonError('not-found', `Cannot abort ingest "${ref}": there is none`);
    }
    if (!(await this.forget(ref))) {
      throw new SiphonError('busy', `Cannot abort ingest "${ref}": somebody works on it`);
    }
  }

  #path(ref: string): string {
    return join(this.#directory, digestHex(isDigest(ref) ? ref : digestOf(ref)));
  }

  async #describe(ref: string, { digest, total }: Expected): Promise<void> {
    const known = await readFacts(this.#path(ref));
    if (known !== undefined) {
      checkSame(ref, 'digest', known.expected, digest);
      checkSame(ref, 'size', known.total, total);
      return;
    }
    const facts: Facts = {
      ref,
      ...(digest === undefined ? {} : { expected: digest }),
      ...(total === undefined ? {} : { total }),
      started: Date.now(),
    };
    // One that a crash has cut short is as good as none.
    await writeFile(factsPath(this.#path(ref)), JSON.stringify(facts), { mode: 0o600 });
  }

  async #read(path: string): Promise<IngestStatus | undefined> {
    const [facts, stats] = await Promise.all([readFacts(path), statOf(path)]);
    if (facts === undefined || stats === undefined) return undefined;
    return { ...facts, offset: stats.size, updated: Math.round(stats.mtimeMs) };
  }
}

/** Of two that know what will arrive, the second goes on with the same as the first began. */
function checkSame<T extends string | number>(ref: string, what: string, begun?: T, now?: T): void {
  if (begun === undefined || now === undefined || begun === now) return;
  throw new SiphonError(
    'failed-precondition',
    `Cannot go on with ingest "${ref}": it was begun for ${what} ${begun}, expected ${now}`,
    { hint: 'Abort it to begin anew.' },
  );
}

/** Removes an ingest, unless it `isWanted`. @returns whether nobody works on it */
async function removeLeft(
  path: string,
  isWanted: (ref: string) => boolean = () => false,
): Promise<boolean> {
  const mayGo = async (): Promise<boolean> => {
    const facts = await readFacts(path);
    return facts === undefined || !isWanted(facts.ref);
  };
  if (!(await mayGo())) return true;
  const file = await lockedFile(path);
  if (file === undefined) return false;
  // It may have been begun just now.
  if (await mayGo()) {
    for (const one of [path, factsPath(path)]) await rm(one, { force: true });
  }
  await file.close();
  return true;
}

/** The file, made where it is missing and locked; `undefined` where another has the lock. */
async function lockedFile(path: string): Promise<FileHandle | undefined> {
  for (;;) {
    const file = await open(path, 'a+', 0o600);
    try {
      if (!tryLockFile(file.fd)) {
        await file.close();
        return undefined;
      }
      // Who had the lock before may have put the file where it belongs, or removed it.
      const [own, there] = [await file.stat(), await statOf(path)];
      if (own.ino === there?.ino) return file;
    } catch (error) {
      await file.close();
      throw error;
    }
    await file.close();
  }
}

function factsPath(path: string): string {
  return `${path}.json`;
}

async function readFacts(path: string): Promise<Facts | undefined> {
  try {
    const facts = fieldsOf(JSON.parse(await readFile(factsPath(path), 'utf8')), 'an ingest');
    const { expected, total } = facts;
    return {
      ref: field(facts, 'ref', 'string'),
      started: field(facts, 'started', 'number'),
      ...(typeof expected === 'string' && isDigest(expected) ? { expected } : {}),
      ...(typeof total === 'number' ? { total } : {}),
    };
  } catch {
    // An ingest that nothing is known about is one that was just begun.
    return undefined;
  }
}

async function turn(ref: string, signal: AbortSignal): Promise<void> {
  try {
    await delay(TURN, undefined, { signal });
  } catch (cause) {
    throw new SiphonError('cancelled', `Cannot wait for ingest "${ref}": it was cancelled`, {
      cause,
    });
  }
}

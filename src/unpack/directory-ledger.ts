/**
 * What is known of the directories of a tree that is being written: which were made without an entry, and
 * the times that all have in the end. Times are set last, because whatever is made or removed in a
 * directory changes its own.
 */

import { systemCode } from '../common/errors.js';
import { setTimes, setTimesAt } from '../ffi/at-calls.js';
import type { ByteString } from '../index/tar-header.js';
import type { DirectoryListener, FileTime, RootedDirectories } from './rooted-directories.js';

const EPOCH: FileTime = { seconds: 0, nanoseconds: 0 };
/** What opening a directory says that is not there, or is something else by now. */
const GONE = new Set(['ENOENT', 'ENOTDIR', 'ELOOP']);

export class DirectoryLedger implements DirectoryListener {
  readonly #times = new Map<ByteString, FileTime>();
  readonly #implicit = new Set<ByteString>();
  /** Looked at in the end: to look for what was in each of them would take too long for hostile layers. */
  #hasRemoved = false;

  /** What it had before anything was done in it; what is known already counts more. */
  opened(path: ByteString, time: FileTime): void {
    if (!this.#times.has(path)) this.#times.set(path, time);
  }

  made(path: ByteString): void {
    this.#times.set(path, EPOCH);
    this.#implicit.add(path);
  }

  /** An entry says what it is. */
  described(path: ByteString, time: FileTime): void {
    this.#times.set(path, time);
    this.#implicit.delete(path);
  }

  /** Some directory is gone, with those in it. */
  removed(): void {
    this.#hasRemoved = true;
  }

  /** Sets all times. @returns the directories that no entry describes */
  finish(directories: RootedDirectories): ByteString[] {
    for (const [path, { seconds, nanoseconds }] of this.#times) {
      if (!this.#isThere(path, directories)) continue;
      const slash = path.lastIndexOf('/');
      const { fd } = directories.at(path.slice(0, Math.max(slash, 0)));
      if (path === '') setTimes(fd, seconds, nanoseconds);
      else setTimesAt(fd, path.slice(slash + 1), seconds, nanoseconds);
    }
    return [...this.#implicit].filter((path) => this.#isThere(path, directories));
  }

  #isThere(path: ByteString, directories: RootedDirectories): boolean {
    if (!this.#hasRemoved) return true;
    try {
      directories.at(path);
      return true;
    } catch (error) {
      if (GONE.has(systemCode(error) ?? '')) return false;
      throw error;
    }
  }
}

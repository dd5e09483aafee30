/**
 * The modification times that directories have in the end. They are set last, because whatever is made
 * or removed in a directory changes its own.
 */

import type { ByteString } from '../index/tar-header.js';

export interface FileTime {
  seconds: number;
  nanoseconds: number;
}

export const EPOCH: FileTime = { seconds: 0, nanoseconds: 0 };

export class DirectoryTimes {
  readonly #times = new Map<ByteString, FileTime>();

  /** Says what a directory had before anything was done in it; later and other words win. */
  remember(path: ByteString, time: FileTime): void {
    if (!this.#times.has(path)) this.#times.set(path, time);
  }

  set(path: ByteString, time: FileTime): void {
    this.#times.set(path, time);
  }

  entries(): Iterable<[ByteString, FileTime]> {
    return this.#times;
  }
}

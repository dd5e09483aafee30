/**
 * Room that is given up when there is none: to remove something takes a few pages of a database's log
 * before it frees anything, and a disk that is full to the last byte has not even those. So a file is
 * kept that is of no other use; a slice of it goes where removing fails for want of room, and comes back
 * with the room.
 */

import { randomBytes } from 'node:crypto';
import { rmSync, statSync, statfsSync, truncateSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isDiskFull } from './disk-full.js';
import { SiphonError, errorMessage } from './errors.js';
import type { Logger } from './log.js';

/** Bytes, of which a removal takes a slice at most. */
const SIZE = 4 << 20;
const SLICE = 128 << 10;
/** With fewer bytes left, a service does not come to the point where it could remove anything. */
const LEAST_AT_START = 512 << 10;

export class SpaceReserve {
  readonly #path: string;
  readonly #root: string;
  readonly #log: Logger;

  /** @param root siphon's; it must be there */
  constructor(root: string, log: Logger) {
    this.#root = root;
    this.#path = join(root, 'reserve');
    this.#log = log;
  }

  /** Gives up what a start takes. @throws SiphonError `no-space` where it would fail all the same */
  spendAtStart(): void {
    if (this.#free() >= LEAST_AT_START) return;
    this.#spend(2 * LEAST_AT_START);
    const free = this.#free();
    if (free >= LEAST_AT_START) return;
    throw new SiphonError(
      'no-space',
      `Cannot serve from root "${this.#root}": its disk is full (ENOSPC), with ${free} bytes left, expected at least ${LEAST_AT_START}`,
    );
  }

  /** Does what frees room; where that fails because there is none, once more with some of what was kept for it. */
  async withRoom<T>(work: () => T | Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (!isDiskFull(error) || !this.#spend(SLICE)) throw error;
      return work();
    }
  }

  /** Keeps all the room again, if there is any. */
  async restore(): Promise<void> {
    const before = this.#size();
    if (before === SIZE) return;
    try {
      // Random, for a file system may keep zeros for nothing.
      await writeFile(this.#path, randomBytes(SIZE - before), { flag: 'a', mode: 0o600 });
    } catch (error) {
      if (before > 0) truncateSync(this.#path, before);
      else rmSync(this.#path, { force: true });
      this.#log.debug({ reason: errorMessage(error) }, 'not all the room is kept for removals');
    }
  }

  /** @returns whether there was any */
  #spend(bytes: number): boolean {
    const size = this.#size();
    if (size === 0) return false;
    truncateSync(this.#path, Math.max(0, size - bytes));
    this.#log.warn(
      { root: this.#root },
      'the disk is full; room that was kept for removals is used',
    );
    return true;
  }

  #size(): number {
    return statSync(this.#path, { throwIfNoEntry: false })?.size ?? 0;
  }

  #free(): number {
    const { bfree, bsize } = statfsSync(this.#root);
    return bfree * bsize;
  }
}

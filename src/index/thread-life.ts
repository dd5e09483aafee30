/**
 * Whether a thread lives, as the kernel knows it: to one that waits in its own thread, no event can tell. Time
 * says nothing, for the process may have been stopped, or the machine asleep.
 */

import { existsSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';

/** proc(5): a link to the calling thread's folder, and where those of the process are. */
const OWN = '/proc/thread-self';
const ALL = '/proc/self/task';

/** Memory for the number of one thread. */
export const LIFE_BYTES = Int32Array.BYTES_PER_ELEMENT;

/**
 * How often a thread may be looked for before it has said its number. To start takes a fraction of a second; one that
 * could not be started never says it.
 */
const MAX_LOOKS = 120;

/** Says which thread this is, for {@link ThreadLife}; where there is no such folder it stays unknown. */
export function announceThread(memory: SharedArrayBuffer): void {
  let number = 0;
  try {
    number = Number(basename(readlinkSync(OWN)));
  } catch {
    // Whoever waits for this thread then waits as long as it takes.
  }
  Atomics.store(new Int32Array(memory), 0, number > 0 ? number : UNKNOWN);
}

const UNKNOWN = -1;

/** A thread, seen from another one. */
export class ThreadLife {
  readonly #number: Int32Array;
  #looks = 0;

  /** @param memory of {@link LIFE_BYTES}, shared with the thread */
  constructor(memory: SharedArrayBuffer) {
    this.#number = new Int32Array(memory);
  }

  /** @throws Error where the thread has ended, or does not come to begin */
  check(): void {
    const number = Atomics.load(this.#number, 0);
    if (number === 0 && ++this.#looks > MAX_LOOKS) throw new Error('A thread did not start');
    if (number > 0 && !existsSync(`${ALL}/${number}`))
      throw new Error('A thread ended before its work was done');
  }
}

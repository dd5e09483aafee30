/**
 * Whether memory ran out in a cgroup that its runtime takes away at once, as crun does. Under cgroup v1 the
 * kernel counts that in an eventfd of ours (cgroup-v1/memory.rst, section 10), and the cgroup's end as well.
 */

import { closeSync, existsSync } from 'node:fs';
import { type FileHandle, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openCounter, takeCount } from '../ffi/eventfd.js';
import { memoryCgroup } from './container-cgroup.js';

/** How long the kernel may take to tell that the cgroup is gone, ms. */
const END_PATIENCE = 1000;
/** Between two looks, ms; what is told with the end is told within as long. */
const INTERVAL = 50;

export class MemoryWatch implements Disposable {
  readonly #folder: string;
  #counter: number | undefined;

  constructor(cgroup: string) {
    this.#folder = memoryCgroup(cgroup);
  }

  /** To be called once the container runs. Without effect where it has ended, and under cgroup v2. */
  async begin(): Promise<void> {
    let subject: FileHandle | undefined;
    try {
      subject = await open(join(this.#folder, 'memory.oom_control'));
      this.#counter = openCounter();
      const request = `${this.#counter} ${subject.fd}`;
      await writeFile(join(this.#folder, 'cgroup.event_control'), request, { flag: 'r+' });
    } catch {
      this[Symbol.dispose]();
    } finally {
      await subject?.close();
    }
  }

  /** To be called once the container has ended. */
  async ranOut(): Promise<boolean> {
    const counter = this.#counter;
    if (counter === undefined) return false;
    let count = 0;
    for (let waited = 0; count === 0 && waited < END_PATIENCE; waited += INTERVAL) {
      count = takeCount(counter);
      await sleep(INTERVAL);
    }
    count += takeCount(counter);
    return count > (existsSync(this.#folder) ? 0 : 1);
  }

  [Symbol.dispose](): void {
    if (this.#counter !== undefined) closeSync(this.#counter);
    this.#counter = undefined;
  }
}

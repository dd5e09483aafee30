/**
 * Whether memory ran out in a cgroup that its runtime takes away at once, as crun does. Under cgroup v1 the
 * kernel counts that in an eventfd of ours (cgroup-v1/memory.rst, section 10), and the cgroup's end as well, which it
 * tells when it comes to it: on a busy machine 100 ms later. So another eventfd counts the end alone.
 */

import { closeSync, existsSync } from 'node:fs';
import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openCounter, takeCount } from '../ffi/eventfd.js';
import { memoryCgroup } from './container-cgroup.js';

/** How long the kernel may take to tell that the cgroup is gone, ms. */
const END_PATIENCE = 5000;
/** Between two looks, ms; what is told with the end is told within as long. */
const INTERVAL = 20;

interface Counters {
  /** Of the times that memory ran out, and of the end. */
  ranOut: number;
  end: number;
}

export class MemoryWatch implements Disposable {
  readonly #folder: string;
  #counters: Counters | undefined;

  constructor(cgroup: string) {
    this.#folder = memoryCgroup(cgroup);
  }

  /** To be called once the container runs. Without effect where it has ended, and under cgroup v2. */
  async begin(): Promise<void> {
    const end = openCounter();
    this.#counters = { end, ranOut: openCounter() };
    try {
      // Nothing is more than -1 bytes, which means all there are. The end is told in reverse order.
      await this.#count(end, 'memory.usage_in_bytes', ' -1');
      await this.#count(this.#counters.ranOut, 'memory.oom_control');
    } catch {
      this[Symbol.dispose]();
    }
  }

  /** Has the kernel add to an eventfd what `file` is about. */
  async #count(counter: number, file: string, argument = ''): Promise<void> {
    const subject = await open(join(this.#folder, file));
    try {
      const request = `${counter} ${subject.fd}${argument}`;
      await writeFile(join(this.#folder, 'cgroup.event_control'), request, { flag: 'r+' });
    } finally {
      await subject.close();
    }
  }

  /** To be called once the container has ended. */
  async ranOut(): Promise<boolean> {
    const counters = this.#counters;
    if (counters === undefined) return false;
    if (existsSync(this.#folder)) return takeCount(counters.ranOut) > 0;
    let isTold = false;
    for (let waited = 0; !isTold && waited < END_PATIENCE; waited += INTERVAL) {
      isTold = takeCount(counters.end) > 0;
      await sleep(INTERVAL);
    }
    return takeCount(counters.ranOut) > 1;
  }

  [Symbol.dispose](): void {
    if (this.#counters === undefined) return;
    closeSync(this.#counters.ranOut);
    closeSync(this.#counters.end);
    this.#counters = undefined;
  }
}

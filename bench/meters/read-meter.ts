/** How long single reads take, one after the other, as a program that reads sees it. */

import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

export interface ReadPlace {
  path: string;
  /** Without it, the next bytes are read: of a pipe, for instance. */
  offset?: number;
  length: number;
}

export interface MeasuredReads {
  /** Milliseconds, in the order of the places. Opening is not in them. */
  latencies: number[];
  /** Milliseconds of opening and reading, without what the meter itself does. */
  ms: number;
  bytes: number;
  /** Of all that was read, in order: equal on all sides, or somebody read something wrong. */
  sha256: string;
}

/** @throws the system error where a file cannot be opened or read */
export async function measureReads(places: readonly ReadPlace[]): Promise<MeasuredReads> {
  const worker = new Worker(new URL('./read-worker.js', import.meta.url), { workerData: places });
  try {
    const [measured] = (await once(worker, 'message')) as [MeasuredReads];
    return measured;
  } finally {
    await worker.terminate();
  }
}

/** Reads one place after the other, blocking: nothing but the system call is between the two looks at the clock. */

import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import type { MeasuredReads, ReadPlace } from './read-meter.js';

const port = parentPort;
if (port === null) throw new Error('The read worker runs in a worker thread only');
// `measureReads` is the only one who starts it.
port.postMessage(readAll(workerData as readonly ReadPlace[]));

function readAll(places: readonly ReadPlace[]): MeasuredReads {
  const files = new Map<string, number>();
  const latencies: number[] = [];
  const hash = createHash('sha256');
  let bytes = 0;
  let ms = 0;
  try {
    for (const { path } of places) {
      if (files.has(path)) continue;
      const begin = performance.now();
      files.set(path, openSync(path, 'r'));
      ms += performance.now() - begin;
    }
    for (const { path, offset, length } of places) {
      const buffer = Buffer.alloc(length);
      const file = files.get(path) ?? -1;
      const begin = performance.now();
      const read = readSync(file, buffer, 0, length, offset ?? null);
      const latency = performance.now() - begin;
      latencies.push(latency);
      ms += latency;
      hash.update(buffer.subarray(0, read));
      bytes += read;
    }
  } finally {
    for (const file of files.values()) closeSync(file);
  }
  return { latencies, ms, bytes, sha256: hash.digest('hex') };
}

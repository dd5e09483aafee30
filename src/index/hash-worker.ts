/** The worker thread that hashes one layer; started by {@link HashThread}. */

import { workerData } from 'node:worker_threads';
import { type HashJob, HashQueue, ORDER, type Order } from './hash-queue.js';
import { RunningDigests } from './layer-hasher.js';

// Written by HashThread, in this very package.
const { arena, queue, results } = workerData as HashJob;
const orders = new HashQueue(queue);
const digests = new RunningDigests();
let finished = false;

while (!finished) orders.takeNext(perform);

function perform({ what, offset, length }: Order): void {
  switch (what) {
    case ORDER.blob:
      digests.update('blob', new Uint8Array(arena, offset, length));
      break;
    case ORDER.tar:
      digests.update('tar', new Uint8Array(arena, offset, length));
      break;
    case ORDER.endSpan:
      digests.endSpan();
      break;
    default:
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, no window
      results.postMessage(digests.finish());
      results.close();
      finished = true;
  }
}

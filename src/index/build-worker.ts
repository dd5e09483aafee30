/** The worker thread that builds one index; started by {@link buildIndex}. */

import { workerData } from 'node:worker_threads';
import type { BlockTaken, BuildJob, ToBuilder } from './build-protocol.js';
import { HashThread } from './hash-thread.js';
import { IndexBuilder } from './index-builder.js';
import { IndexJob } from './index-job.js';
import { DirectHasher } from './layer-hasher.js';

/** Smaller blobs are hashed before another thread has started. */
const LARGE = 8 << 20;

// Written by buildIndex, in this very package.
const data = workerData as BuildJob;
const job = new IndexJob<ToBuilder, BlockTaken>(data.path);
const isSmall = (data.expected?.blobSize ?? LARGE) < LARGE;
const hasher = isSmall ? new DirectHasher() : new HashThread(data.arena);
const builder = job.attempt(() => new IndexBuilder({ ...data, hasher }));
/** The last block and what must be hashed before it is free: most often it is, when the next one comes. */
let last: { offset: number; mark: number } | undefined;

job.listen((message) => {
  if (builder === undefined) return;
  if (message.kind === 'end') {
    job.done(builder.finish());
    return;
  }
  const { offset, length } = message;
  builder.push(Buffer.from(data.arena, offset, length));
  release();
  last = { offset, mark: hasher.mark };
});

function release(): void {
  if (last === undefined) return;
  hasher.settle(last.mark);
  job.request({ offset: last.offset });
}

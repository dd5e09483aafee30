/** The worker thread that builds an index from headers; started by {@link hopIndex}. */

import { workerData } from 'node:worker_threads';
import { IndexJob } from '../index-job.js';
import { HopBuilder, type HopJob } from './hop-builder.js';

/** The bytes of the blob from `offset` on are to be sent. */
export interface NextWindow {
  offset: number;
}

// Written by hopIndex, in this very package.
const data = workerData as HopJob;
const job = new IndexJob<Uint8Array, NextWindow>(data.path);
const builder = job.attempt(() => new HopBuilder(data));
job.attempt(goOn);

job.listen((bytes) => {
  builder?.push(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  goOn();
});

function goOn(): void {
  if (builder === undefined) return;
  if (builder.next < data.blobSize) job.request({ offset: builder.next });
  else job.done(builder.finish());
}

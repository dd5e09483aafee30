/** The worker thread that builds indexes from headers; started by {@link hopIndex}. */

import { IndexJobs } from '../index-job.js';
import { HopBuilder, type HopJob } from './hop-builder.js';

/** The bytes of the blob from `offset` on are to be sent. */
export interface NextWindow {
  offset: number;
}

new IndexJobs<HopJob, Uint8Array, NextWindow>((data, job) => {
  const builder = new HopBuilder(data);
  const goOn = (): void => {
    if (builder.next < data.blobSize) job.request({ offset: builder.next });
    else job.done(builder.finish());
  };
  goOn();
  return (bytes) => {
    builder.push(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    goOn();
  };
}).listen();

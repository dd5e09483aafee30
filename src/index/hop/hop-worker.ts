/** The worker thread that builds an index from headers; started by {@link hopIndex}. */

import { parentPort, workerData } from 'node:worker_threads';
import type { LayerInfo } from '../layer-model.js';
import { type Failure, failureOf } from '../thread-failure.js';
import { HopBuilder, type HopJob } from './hop-builder.js';

export type FromHopper =
  /** The bytes of the blob from `offset` on are to be sent. */
  { kind: 'next'; offset: number } | { kind: 'done'; info: LayerInfo } | Failure;

const port = parentPort;
if (port === null) throw new Error('hop-worker runs in a worker thread only');

const say = (message: FromHopper): void => port.postMessage(message);
// Written by hopIndex, in this very package.
const job = workerData as HopJob;
const builder = attempt(() => new HopBuilder(job));
attempt(goOn);

port.on('message', (bytes: Uint8Array) =>
  attempt(() => {
    builder?.push(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    goOn();
  }),
);

function goOn(): void {
  if (builder === undefined) return;
  if (builder.next < job.blobSize) say({ kind: 'next', offset: builder.next });
  else say({ kind: 'done', info: builder.finish() });
}

/** Reports what is thrown; the other side then ends this thread and removes the files. */
function attempt<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch (error) {
    say(failureOf(error, job.path));
    port?.close();
    return undefined;
  }
}

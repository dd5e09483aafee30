/** The worker thread that builds one index; started by {@link buildIndex}. */

import { parentPort, workerData } from 'node:worker_threads';
import type { BuildJob, FromBuilder, ToBuilder } from './build-protocol.js';
import { HashThread } from './hash-thread.js';
import { IndexBuilder } from './index-builder.js';
import { DirectHasher } from './layer-hasher.js';
import { failureOf } from './thread-failure.js';

const port = parentPort;
if (port === null) throw new Error('build-worker runs in a worker thread only');

/** Smaller blobs are hashed before another thread has started. */
const LARGE = 8 << 20;

const say = (message: FromBuilder): void => port.postMessage(message);
// Written by buildIndex, in this very package.
const job = workerData as BuildJob;
const isSmall = (job.expected?.blobSize ?? LARGE) < LARGE;
const hasher = isSmall ? new DirectHasher() : new HashThread(job.arena);
const builder = attempt(() => new IndexBuilder({ ...job, hasher }));
/** The last block and what must be hashed before it is free: most often it is, when the next one comes. */
let last: { offset: number; mark: number } | undefined;

port.on('message', (message: ToBuilder) => {
  if (builder === undefined) return;
  attempt(() => {
    if (message.kind === 'end') {
      say({ kind: 'done', info: builder.finish() });
      return;
    }
    const { offset, length } = message;
    builder.push(Buffer.from(job.arena, offset, length));
    release();
    last = { offset, mark: hasher.mark };
  });
});

function release(): void {
  if (last === undefined) return;
  hasher.settle(last.mark);
  say({ kind: 'taken', offset: last.offset });
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

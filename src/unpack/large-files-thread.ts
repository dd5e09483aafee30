/** Writes a tree of large files in a thread of its own, which ends with it. */

import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { type Failure, errorFrom } from '../index/thread-failure.js';
import type { LargeFilesJob, LargeFilesWritten } from './large-files-tree.js';

export type LargeFilesOutcome = { kind: 'done'; written: LargeFilesWritten } | Failure;

/** As writeLargeFiles. When this returns or throws, the thread has let go of all files. */
export async function writeLargeFilesAside(
  job: LargeFilesJob,
  signal: AbortSignal,
): Promise<LargeFilesWritten> {
  const worker = new Worker(new URL('./large-files-worker.js', import.meta.url), {
    workerData: job,
    execArgv: [],
  });
  // Not torn down: it may be in native code.
  const leave = (): void => worker.postMessage('leave', []);
  let outcome: LargeFilesOutcome | undefined;
  worker.on('message', (message: LargeFilesOutcome) => (outcome = message));
  signal.addEventListener('abort', leave, { once: true });
  if (signal.aborted) leave();
  try {
    await once(worker, 'exit');
  } finally {
    signal.removeEventListener('abort', leave);
  }
  if (outcome === undefined) throw new Error('A thread ended before it had written large files');
  if (outcome.kind === 'failed') throw errorFrom(outcome);
  return outcome.written;
}

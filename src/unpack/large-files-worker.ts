/** The worker thread that writes one tree of large files; started by {@link writeLargeFilesAside}. */

import { parentPort, workerData } from 'node:worker_threads';
import { SiphonError } from '../common/errors.js';
import { failureOf } from '../index/thread-failure.js';
import { type LargeFilesJob, writeLargeFiles } from './large-files-tree.js';
import type { LargeFilesOutcome } from './large-files-thread.js';

const port = parentPort;
if (port === null) throw new Error('large-files-worker runs in a worker thread only');

// Whoever started this thread gives it nothing else.
const job = workerData as LargeFilesJob;
const leaving = new AbortController();
port.once('message', () => {
  leaving.abort(new SiphonError('cancelled', 'Cannot write large files: the work was cancelled'));
});
const outcome = await writeLargeFiles(job, leaving.signal).then(
  (written): LargeFilesOutcome => ({ kind: 'done', written }),
  (error: unknown): LargeFilesOutcome => failureOf(error, job.target),
);
port.postMessage(outcome);
port.close();

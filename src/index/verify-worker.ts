/** The worker thread that checks one index against its blob; started by {@link verifyAside}. */

import { workerData } from 'node:worker_threads';
import { FileBlob } from '../common/file-blob.js';
import { IndexJob } from './index-job.js';
import type { VerifyJob } from './verify-aside.js';
import { verifyIndex } from './verify-index.js';

// Written by verifyAside, in this very package.
const { indexPath, blobPath, folder } = workerData as VerifyJob;
const job = new IndexJob<never, never>(indexPath);
const never = new AbortController().signal;
job.listen(() => undefined);
try {
  const blob = await FileBlob.open(blobPath);
  job.done(await verifyIndex(indexPath, blob.stream(never), { blobPath, folder }));
} catch (error) {
  job.fail(error);
}

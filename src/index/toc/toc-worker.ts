/** The worker thread that turns one table of contents into an index; started by {@link indexFromToc}. */

import { workerData } from 'node:worker_threads';
import { IndexJob } from '../index-job.js';
import { type TocJob, buildTocIndex } from './toc-index.js';

// Written by indexFromToc, in this very package.
const data = workerData as TocJob;
const job = new IndexJob<never, never>(data.path);
job.listen(() => undefined);
try {
  job.done(await buildTocIndex(data));
} catch (error) {
  job.fail(error);
}

/** The worker thread that turns tables of contents into indexes; started by {@link indexFromToc}. */

import { IndexJobs } from '../index-job.js';
import { type TocJob, buildTocIndex } from './toc-index.js';

let work: Promise<void> = Promise.resolve();

new IndexJobs<TocJob, never, never>(
  (data, job) => {
    work = buildTocIndex(data).then(
      (info) => job.done(info),
      (error: unknown) => job.fail(error),
    );
    return () => undefined;
  },
  // Some of it is done in native code on other threads, which does not bear that this one goes.
  () => work,
).listen();

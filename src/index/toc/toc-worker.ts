/** The worker thread that turns tables of contents into indexes; started by {@link indexFromToc}. */

import { IndexJobs } from '../index-job.js';
import { type TocJob, buildTocIndex } from './toc-index.js';

new IndexJobs<TocJob, never, never>((data, job) => {
  buildTocIndex(data).then(
    (info) => job.done(info),
    (error: unknown) => job.fail(error),
  );
  return () => undefined;
}).listen();

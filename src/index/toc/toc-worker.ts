/** The worker thread that turns tables of contents into indexes; started by {@link indexFromToc}. */

import { AsyncIndexJobs } from '../index-job.js';
import { type TocJob, buildTocIndex } from './toc-index.js';

new AsyncIndexJobs<TocJob>(buildTocIndex).listen();

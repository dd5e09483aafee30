/** The worker thread that turns one table of contents into an index; started by {@link indexFromToc}. */

import { parentPort, workerData } from 'node:worker_threads';
import type { FromBuilder } from '../build-protocol.js';
import { failureOf } from '../thread-failure.js';
import { type TocJob, buildTocIndex } from './toc-index.js';

const say = (message: FromBuilder): void => parentPort?.postMessage(message, []);
// Written by indexFromToc, in this very package.
const job = workerData as TocJob;
try {
  say({ kind: 'done', info: await buildTocIndex(job) });
} catch (error) {
  say(failureOf(error, job.path));
}

/** The worker thread that checks indexes against their blobs; started by {@link verifyAside}. */

import { FileBlob } from '../common/file-blob.js';
import { IndexJobs } from './index-job.js';
import type { LayerInfo } from './layer-model.js';
import type { VerifyJob } from './verify-aside.js';
import { verifyIndex } from './verify-index.js';

const leaving = new AbortController();
let work: Promise<void> = Promise.resolve();

new IndexJobs<VerifyJob, never, never>(
  (data, job) => {
    work = verify(data).then(
      (info) => job.done(info),
      (error: unknown) => job.fail(error),
    );
    return () => undefined;
  },
  () => {
    // It has a thread of its own, which does not bear to be torn down.
    leaving.abort();
    return work;
  },
).listen();

async function verify({ path, blobPath, folder }: VerifyJob): Promise<LayerInfo> {
  const { signal } = leaving;
  const blob = await FileBlob.open(blobPath);
  try {
    return await verifyIndex(path, blob.stream(signal), { blobPath, folder, signal });
  } finally {
    await blob.close();
  }
}

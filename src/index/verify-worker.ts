/** The worker thread that checks indexes against their blobs; started by {@link verifyAside}. */

import { FileBlob } from '../common/file-blob.js';
import { AsyncIndexJobs } from './index-job.js';
import type { LayerInfo } from './layer-model.js';
import type { VerifyJob } from './verify-aside.js';
import { verifyIndex } from './verify-index.js';

const leaving = new AbortController();

new AsyncIndexJobs<VerifyJob>(verify, () => leaving.abort()).listen();

async function verify({ path, blobPath, folder }: VerifyJob): Promise<LayerInfo> {
  const { signal } = leaving;
  const blob = await FileBlob.open(blobPath);
  try {
    return await verifyIndex(path, blob.stream(signal), { blobPath, folder, signal });
  } finally {
    await blob.close();
  }
}

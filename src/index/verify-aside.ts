/** Checks an index against the blob in a file, in a thread of its own: it keeps a core busy for a while. */

import { runIndexThread } from './index-thread.js';
import type { LayerInfo } from './layer-model.js';

export interface VerifyJob {
  /** Of the index. */
  path: string;
  blobPath: string;
  /** For temporary files. */
  folder: string;
}

/** @throws as verifyIndex; SiphonError `cancelled` */
export function verifyAside(job: VerifyJob, signal: AbortSignal): Promise<LayerInfo> {
  const script = new URL('./verify-worker.js', import.meta.url);
  return runIndexThread({ script, job, signal });
}

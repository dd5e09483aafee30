/** Builds the index of an uncompressed layer from its headers, which are read by ranges. */

import { rm } from 'node:fs/promises';
import { Worker } from 'node:worker_threads';
import type { BlobSource } from '../../common/blob-source.js';
import { renameDurably, temporaryName } from '../../common/atomic-file.js';
import type { Digest } from '../../common/digest.js';
import { SiphonError } from '../../common/errors.js';
import type { LayerInfo } from '../layer-model.js';
import { errorFrom } from '../thread-failure.js';
import type { HopJob } from './hop-builder.js';
import type { FromHopper } from './hop-worker.js';
import { HopWindows } from './hop-windows.js';

export interface HopOptions {
  /** The index file; appears whole or not at all. */
  output: string;
  /** The layer's name. */
  blobDigest: Digest;
  /** By default as a pass over the layer has it. */
  spanSize?: number;
  signal: AbortSignal;
}

/**
 * Hops through the tar that `source` is.
 * @throws SiphonError `unsupported` where it is compressed, or the source cannot be read in parts; `corrupt`
 * or `invalid` as buildIndex; `cancelled`; and what the source throws. Leaves no file behind then.
 */
export async function hopIndex(source: BlobSource, options: HopOptions): Promise<LayerInfo> {
  const { output, blobDigest, spanSize, signal } = options;
  const path = temporaryName(output);
  const size = spanSize === undefined ? {} : { spanSize };
  const job: HopJob = { path, blobDigest, blobSize: source.size, ...size };
  const windows = new HopWindows(source, signal);
  try {
    const info = await runWorker(job, windows, signal);
    await renameDurably(path, output);
    return info;
  } finally {
    windows.close();
    // After a success the first name is gone already.
    for (const file of [path, `${path}.staging`]) await rm(file, { force: true });
  }
}

async function runWorker(
  workerData: HopJob,
  windows: HopWindows,
  signal: AbortSignal,
): Promise<LayerInfo> {
  const worker = new Worker(new URL('./hop-worker.js', import.meta.url), {
    workerData,
    // The parent's flags need not suit a worker (`--input-type` does not).
    execArgv: [],
  });
  let onAbort = (): void => undefined;
  try {
    return await new Promise<LayerInfo>((resolve, reject) => {
      onAbort = () => reject(cancelled(signal));
      signal.addEventListener('abort', onAbort, { once: true });
      if (signal.aborted) onAbort();
      worker.on('message', (message: FromHopper) => {
        if (message.kind === 'done') resolve(message.info);
        else if (message.kind === 'failed') reject(errorFrom(message));
        // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, no window
        else windows.at(message.offset).then((bytes) => worker.postMessage(bytes), reject);
      });
      worker.on('error', reject);
      worker.on('exit', () => reject(new Error('The layer was left unread')));
    });
  } finally {
    signal.removeEventListener('abort', onAbort);
    await worker.terminate();
  }
}

function cancelled(signal: AbortSignal): SiphonError {
  return new SiphonError('cancelled', 'Cannot index layer: the work was cancelled', {
    cause: signal.reason,
  });
}

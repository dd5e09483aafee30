/** Starts the worker that turns a table of contents into a layer's index. */

import { rm } from 'node:fs/promises';
import { Worker } from 'node:worker_threads';
import { renameDurably, temporaryName } from '../../common/atomic-file.js';
import { SiphonError } from '../../common/errors.js';
import type { FromBuilder } from '../build-protocol.js';
import { errorFrom } from '../thread-failure.js';
import type { LayerInfo } from '../layer-model.js';
import type { PackedToc, TocLayer } from './packed-toc.js';
import type { TocJob } from './toc-index.js';

export interface FromTocOptions {
  /** The index file; appears whole or not at all. */
  output: string;
  layer: TocLayer;
  signal: AbortSignal;
}

/**
 * Makes a layer's index of what came with the layer.
 * @throws SiphonError as {@link buildTocIndex}; `cancelled`. Leaves no file behind then.
 */
export async function indexFromToc(toc: PackedToc, options: FromTocOptions): Promise<LayerInfo> {
  const path = temporaryName(options.output);
  const job: TocJob = { path, toc, layer: options.layer };
  try {
    const info = await runWorker(job, options.signal);
    await renameDurably(path, options.output);
    return info;
  } finally {
    // After a success the first name is gone already.
    for (const file of [path, `${path}.staging`]) await rm(file, { force: true });
  }
}

async function runWorker(workerData: TocJob, signal: AbortSignal): Promise<LayerInfo> {
  const worker = new Worker(new URL('./toc-worker.js', import.meta.url), {
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
      worker.on('message', (message: FromBuilder) => {
        if (message.kind === 'done') resolve(message.info);
        if (message.kind === 'failed') reject(errorFrom(message));
      });
      worker.on('error', reject);
      worker.on('exit', () => reject(new Error('The table of contents was left unread')));
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

/** Builds the index of an uncompressed layer from its headers, which are read by ranges. */

import type { BlobSource } from '../../common/blob-source.js';
import type { Digest } from '../../common/digest.js';
import { IndexThread, wholeIndex } from '../index-thread.js';
import type { LayerInfo } from '../layer-model.js';
import type { HopJob } from './hop-builder.js';
import type { NextWindow } from './hop-worker.js';
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
  const size = spanSize === undefined ? {} : { spanSize };
  return wholeIndex(output, (path) =>
    hop(source, { path, blobDigest, blobSize: source.size, ...size }, signal),
  );
}

async function hop(source: BlobSource, job: HopJob, signal: AbortSignal): Promise<LayerInfo> {
  const windows = new HopWindows(source, signal);
  const thread = new IndexThread<NextWindow>({
    script: new URL('./hop-worker.js', import.meta.url),
    job,
    signal,
    onRequest: ({ offset }) => {
      windows.at(offset).then(
        (bytes) => thread.post(bytes),
        (error: unknown) => thread.fail(error),
      );
    },
  });
  try {
    return await thread.finished;
  } finally {
    windows.close();
    await thread.end();
  }
}

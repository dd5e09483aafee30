/** Starts the worker that turns a table of contents into a layer's index. */

import { runIndexThread, wholeIndex } from '../index-thread.js';
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
  const { output, layer, signal } = options;
  const script = new URL('./toc-worker.js', import.meta.url);
  return wholeIndex(output, (path) =>
    runIndexThread({ script, job: { path, toc, layer } satisfies TocJob, signal }),
  );
}

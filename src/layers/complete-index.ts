/**
 * An index that was made of a layer's headers alone gets its digests: the blob comes here in one pass and is
 * checked as a whole, and what the pass makes of it is compared with what the headers gave. Only then are
 * bytes of the layer given to anybody.
 *
 * Tree, inode numbers and spans are the same in both, so whoever has the former open goes on with it.
 */

import { rm } from 'node:fs/promises';
import { renameDurably, temporaryName } from '../common/atomic-file.js';
import type { BlobSource } from '../common/blob-source.js';
import { compareIndexes } from '../index/compare-indexes.js';
import { type StreamOptions, streamLayer } from './stream-layer.js';

/**
 * @param options.output the index to complete; it stays as it is until the complete one takes its place
 * @throws SiphonError `corrupt` where the blob is not the layer's, or the tree not the blob's; as streamLayer
 */
export async function completeIndex(source: BlobSource, options: StreamOptions): Promise<void> {
  const path = temporaryName(options.output);
  try {
    await streamLayer(source, { ...options, output: path });
    compareIndexes(options.output, path);
    await renameDurably(path, options.output);
  } finally {
    await rm(path, { force: true });
  }
}

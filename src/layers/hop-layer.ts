/**
 * Makes a layer's index of the headers of its tar, where it is not compressed: for that much, a few reads do
 * instead of a pass over the layer. That something is in the way is no failure, since the layer can be streamed.
 *
 * A layer of an image on this disk is not hopped through: its one pass is fast, checks it, and says at once what is
 * wrong with it.
 */

import type { BlobSource } from '../common/blob-source.js';
import { errorMessage } from '../common/errors.js';
import type { Image, ImageLayer } from '../content/image.js';
import { openLocation } from '../content/location.js';
import { hopIndex } from '../index/hop/hop-index.js';
import { DEFAULT_SPAN_SIZE } from '../index/span-limits.js';
import { mediaTypes } from '../remote/descriptor.js';
import { type MakeIndexOptions, isFatal } from './foreign-index.js';

const TARS: ReadonlySet<string> = new Set([
  mediaTypes.ociLayer,
  mediaTypes.ociForeignLayer,
  mediaTypes.dockerLayer,
]);

/**
 * Whether there is an index now.
 * @throws what streaming the layer would meet as well; then nothing is left
 */
export async function hopLayer(
  image: Image,
  layer: ImageLayer,
  options: MakeIndexOptions,
): Promise<boolean> {
  const { digest: blobDigest, mediaType, size } = layer.descriptor;
  // The first read of one span draws all of it anyway.
  if (!TARS.has(mediaType) || size <= DEFAULT_SPAN_SIZE) return false;
  const { output, signal, onFound, log } = options;
  let source: BlobSource | undefined;
  try {
    source = await open(image, layer, signal);
    if (source.local && layer.identity === 'content') return false;
    onFound();
    await hopIndex(source, { output, blobDigest, signal });
    return true;
  } catch (error) {
    if (isFatal(error)) throw error;
    log.warn({ layer: blobDigest, reason: errorMessage(error) }, 'headers cannot be hopped to');
    return false;
  } finally {
    await source?.close();
  }
}

function open(image: Image, layer: ImageLayer, signal: AbortSignal): Promise<BlobSource> {
  const { identity, origin, descriptor } = layer;
  if (identity === 'location') return openLocation(origin, descriptor.digest, { signal });
  return image.openLayer(layer, signal);
}

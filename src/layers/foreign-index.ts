/**
 * Makes a layer's index of a table of contents that others made: the layer's own (eStargz, zstd:chunked),
 * or a zTOC of SOCI's that is published beside the image. What cannot be used is no failure, since the
 * layer can be streamed; why, is kept for people.
 */

import { type ErrorCode, errorCode, errorMessage } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import { untilRight } from '../common/until-right.js';
import type { Image, ImageLayer } from '../content/image.js';
import { findToc } from '../index/toc/find-toc.js';
import { indexFromToc } from '../index/toc/index-from-toc.js';
import type { PackedToc } from '../index/toc/packed-toc.js';
import { readSociToc } from '../index/toc/soci-toc.js';

export interface MakeIndexOptions {
  /** The index file to make. */
  output: string;
  signal: AbortSignal;
  /** Called when there is something to make it of. */
  onFound: () => void;
  log: Logger;
}

export type ForeignIndex = { kind: 'made' } | { kind: 'none'; because?: string };

/** Failures that streaming the layer would only meet again. */
const FATAL: readonly (ErrorCode | undefined)[] = [
  undefined,
  'cancelled',
  'no-space',
  'timeout',
  'unavailable',
];

/** Whether making an index some way failed so that every other way would fail as well. */
export function isFatal(error: unknown): boolean {
  return FATAL.includes(errorCode(error));
}

/**
 * Tries the layer's own table first.
 * @throws what streaming the layer would meet as well; then nothing is left
 */
export async function makeForeignIndex(
  image: Image,
  layer: ImageLayer,
  options: MakeIndexOptions,
): Promise<ForeignIndex> {
  const { digest: blobDigest, size: blobSize } = layer.descriptor;
  const { diffId } = layer;
  // Only a manifest can bind a table; what has none has no known diff id either.
  if (layer.identity !== 'content' || diffId === undefined) return { kind: 'none' };
  const { output, signal, onFound, log } = options;
  const reasons: string[] = [];
  for (const find of [ownToc, sociToc]) {
    try {
      const toc = await find(image, layer, signal);
      if (toc === undefined) continue;
      onFound();
      await indexFromToc(toc, { output, signal, layer: { blobDigest, blobSize, diffId } });
      return { kind: 'made' };
    } catch (error) {
      if (isFatal(error)) throw error;
      reasons.push(errorMessage(error));
    }
  }
  const because = reasons.join('; ');
  if (because === '') return { kind: 'none' };
  log.warn({ layer: blobDigest, reason: because }, 'table of contents not used');
  return { kind: 'none', because };
}

async function ownToc(
  image: Image,
  layer: ImageLayer,
  signal: AbortSignal,
): Promise<PackedToc | undefined> {
  const source = await image.openLayer(layer, signal);
  try {
    const { annotations = {} } = layer.descriptor;
    return await untilRight(source, (from) => findToc({ source: from, annotations }, signal));
  } finally {
    await source.close();
  }
}

async function sociToc(
  image: Image,
  layer: ImageLayer,
  signal: AbortSignal,
): Promise<PackedToc | undefined> {
  const published = (await image.fetchZtocs(signal)).get(layer.descriptor.digest);
  if (published === undefined) return undefined;
  const bytes = await published(signal);
  const source = await image.openLayer(layer, signal);
  try {
    return await untilRight(source, (from) => readSociToc(bytes, from, signal));
  } finally {
    await source.close();
  }
}

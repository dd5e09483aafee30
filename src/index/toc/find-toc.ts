/**
 * Looks whether a layer brings its own table of contents, with two small reads of its end. One is only
 * believed where the manifest names its digest, since nothing else ties it to the image. Where it names
 * none the end is not looked at: that would cost every ordinary layer a round trip.
 */

import type { BlobSource } from '../../common/blob-source.js';
import { type Digest, digestOf, isDigest } from '../../common/digest.js';
import { SiphonError } from '../../common/errors.js';
import { TOC_DIGEST_ANNOTATION, parseStargzFooter } from './estargz.js';
import { MAX_TOC_SIZE, type StargzToc, type ZstdChunkedToc } from './packed-toc.js';
import {
  type ZstdChunkedPlace,
  parseZstdChunkedFooter,
  zstdChunkedDigest,
  zstdChunkedEnd,
  zstdChunkedPlace,
} from './zstd-chunked.js';

/** Most bytes of a table that are fetched; it is text and shrinks to a tenth. */
const MAX_PACKED_SIZE = 64 << 20;
/** Fetched with the footer: most tables are there already then. */
const TAIL_SIZE = 64 << 10;

/** The layer, as its image's manifest describes it. */
export interface LayerBlob {
  source: BlobSource;
  annotations: Readonly<Record<string, string>>;
}

/**
 * The table of contents that the layer ends with; `undefined` where it has none that is bound.
 * @throws SiphonError `unsupported` where it is too large, `corrupt` and `invalid` where it is not what
 * the manifest says; and what the source throws
 */
export async function findToc(
  layer: LayerBlob,
  signal: AbortSignal,
): Promise<StargzToc | ZstdChunkedToc | undefined> {
  const { source, annotations } = layer;
  const chunkedDigest = zstdChunkedDigest(annotations);
  const stargzDigest = annotations[TOC_DIGEST_ANNOTATION];
  if (chunkedDigest !== undefined) {
    const place =
      zstdChunkedPlace(annotations, source.size) ??
      parseZstdChunkedFooter(await readTail(source, signal), source.size);
    if (place !== undefined) return zstdChunked(source, place, chunkedDigest, signal);
  }
  if (stargzDigest === undefined || !isDigest(stargzDigest)) return undefined;
  return stargz(source, stargzDigest, signal);
}

async function zstdChunked(
  source: BlobSource,
  place: ZstdChunkedPlace,
  digest: Digest,
  signal: AbortSignal,
): Promise<ZstdChunkedToc> {
  checkSize(place.length, MAX_PACKED_SIZE);
  checkSize(place.size, MAX_TOC_SIZE);
  const bytes = await source.read(place.offset, place.length, signal);
  const actual = digestOf(bytes);
  if (actual !== digest) throw wrongDigest(actual, digest);
  return { format: 'zstd-chunked', bytes, size: place.size, payloadEnd: zstdChunkedEnd(place) };
}

async function stargz(
  source: BlobSource,
  digest: Digest,
  signal: AbortSignal,
): Promise<StargzToc | undefined> {
  const tail = await readTail(source, signal);
  const footer = parseStargzFooter(tail, source.size);
  if (footer === undefined) return undefined;
  const { tocOffset } = footer;
  const length = source.size - footer.size - tocOffset;
  checkSize(length, MAX_PACKED_SIZE);
  const here = tail.length - (source.size - tocOffset);
  const bytes =
    here >= 0 ? tail.subarray(here, here + length) : await source.read(tocOffset, length, signal);
  return { format: 'estargz', bytes, digest, payloadEnd: tocOffset };
}

function readTail(source: BlobSource, signal: AbortSignal): Promise<Buffer> {
  const length = Math.min(TAIL_SIZE, source.size);
  return source.read(source.size - length, length, signal);
}

function checkSize(size: number, limit: number): void {
  if (size > 0 && size <= limit) return;
  throw new SiphonError(
    'unsupported',
    `Cannot use table of contents: it has ${size} bytes, expected at most ${limit}`,
  );
}

function wrongDigest(actual: Digest, expected: Digest): SiphonError {
  return new SiphonError(
    'corrupt',
    `Cannot believe table of contents: its digest is ${actual}, expected ${expected} as the manifest says`,
  );
}

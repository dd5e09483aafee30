/**
 * Looks whether a layer brings its own table of contents, with two small reads of its end. One is only
 * believed where the manifest names its digest, since nothing else ties it to the image: what is not
 * bound so has to be read whole.
 */

import type { BlobSource } from '../../common/blob-source.js';
import { type Digest, digestOf, isDigest } from '../../common/digest.js';
import { SiphonError } from '../../common/errors.js';
import { STARGZ_FOOTER_SIZE, TOC_DIGEST_ANNOTATION, parseStargzFooter } from './estargz.js';
import { MAX_TOC_SIZE, type StargzToc, type ZstdChunkedToc } from './packed-toc.js';
import {
  ZSTD_CHUNKED_FOOTER_SIZE,
  type ZstdChunkedPlace,
  parseZstdChunkedFooter,
  zstdChunkedDigest,
  zstdChunkedEnd,
  zstdChunkedPlace,
} from './zstd-chunked.js';

/** Most bytes of a table that are fetched; it is text and shrinks to a tenth. */
const MAX_PACKED_SIZE = 64 << 20;
/** Fetched with the footer where there is a table to be expected: most are there already then. */
const TAIL_SIZE = 64 << 10;
/** Where none is: enough for any footer, and the length of the frame that it lies in. */
const FOOTER_SIZE = 4 + Math.max(ZSTD_CHUNKED_FOOTER_SIZE, STARGZ_FOOTER_SIZE);

/** The layer, as its image's manifest describes it. */
export interface LayerBlob {
  source: BlobSource;
  annotations: Readonly<Record<string, string>>;
}

/**
 * The table of contents that the layer ends with; `undefined` where it has none.
 * @throws SiphonError `unsupported` where there is one that nothing binds, `corrupt` and `invalid` where
 * it is not what the manifest says; and what the source throws
 */
export async function findToc(
  layer: LayerBlob,
  signal: AbortSignal,
): Promise<StargzToc | ZstdChunkedToc | undefined> {
  const { source, annotations } = layer;
  const place = zstdChunkedPlace(annotations, source.size);
  if (place !== undefined) return zstdChunked(layer, place, signal);
  const isExpected = TOC_DIGEST_ANNOTATION in annotations;
  const tail = await readTail(source, isExpected ? TAIL_SIZE : FOOTER_SIZE, signal);
  const footer = parseZstdChunkedFooter(tail, source.size);
  if (footer !== undefined) return zstdChunked(layer, footer, signal);
  return stargz(layer, tail, signal);
}

async function zstdChunked(
  { source, annotations }: LayerBlob,
  place: ZstdChunkedPlace,
  signal: AbortSignal,
): Promise<ZstdChunkedToc> {
  const digest = zstdChunkedDigest(annotations);
  if (digest === undefined) throw unbound('zstd:chunked');
  checkSize(place.length, MAX_PACKED_SIZE);
  checkSize(place.size, MAX_TOC_SIZE);
  const bytes = await source.read(place.offset, place.length, signal);
  const actual = digestOf(bytes);
  if (actual !== digest) throw wrongDigest(actual, digest);
  return { format: 'zstd-chunked', bytes, size: place.size, payloadEnd: zstdChunkedEnd(place) };
}

async function stargz(
  { source, annotations }: LayerBlob,
  tail: Buffer,
  signal: AbortSignal,
): Promise<StargzToc | undefined> {
  const footer = parseStargzFooter(tail, source.size);
  if (footer === undefined) return undefined;
  const digest = annotations[TOC_DIGEST_ANNOTATION];
  if (digest === undefined || !isDigest(digest)) throw unbound(footer.kind);
  const { tocOffset } = footer;
  const length = source.size - footer.size - tocOffset;
  checkSize(length, MAX_PACKED_SIZE);
  const here = tail.length - (source.size - tocOffset);
  const bytes =
    here >= 0 ? tail.subarray(here, here + length) : await source.read(tocOffset, length, signal);
  return { format: 'estargz', bytes, digest, payloadEnd: tocOffset };
}

function readTail(source: BlobSource, most: number, signal: AbortSignal): Promise<Buffer> {
  const length = Math.min(most, source.size);
  return source.read(source.size - length, length, signal);
}

function checkSize(size: number, limit: number): void {
  if (size > 0 && size <= limit) return;
  throw new SiphonError(
    'unsupported',
    `Cannot use table of contents: it has ${size} bytes, expected at most ${limit}`,
  );
}

function unbound(kind: string): SiphonError {
  return new SiphonError(
    'unsupported',
    `Cannot believe the ${kind} table of contents: the manifest does not name its digest`,
  );
}

function wrongDigest(actual: Digest, expected: Digest): SiphonError {
  return new SiphonError(
    'corrupt',
    `Cannot believe table of contents: its digest is ${actual}, expected ${expected} as the manifest says`,
  );
}

/**
 * Chunks as spans. The tar of such a layer is never read, so its offsets are made up: the chunks follow
 * one another in the order of the blob, each is a span, and those of one gzip member or zstd frame are a
 * group. Chunks that several files share are one span. Pure.
 */

import { SiphonError } from '../../common/errors.js';
import { MAX_SPAN_SIZE } from '../span-limits.js';
import type { RecordedSpan } from '../span-recorder.js';
import type { TocChunk } from './toc-model.js';

export interface ChunkSpans {
  spans: RecordedSpan[];
  /** Bytes of all spans together. */
  tarSize: number;
  /** Where each chunk begins in the made-up tar. */
  tarOffsets: ReadonlyMap<TocChunk, number>;
}

/**
 * What a member may have besides the compressed bytes of its chunks: headers, and bytes that did not
 * shrink. Behind them a member may go on with any number of tar headers, which nobody needs to fetch.
 */
const OVERHEAD_FACTOR = 2;
const OVERHEAD = 64 * 1024;

/**
 * @param payloadEnd where the blob's members and frames end
 * @throws SiphonError `invalid` where chunks overlap or lie outside the blob, `unsupported` where one is
 * larger than what is read at once
 */
export function chunkSpans(chunks: readonly TocChunk[], payloadEnd: number): ChunkSpans {
  const tarOffsets = new Map<TocChunk, number>();
  const spans: RecordedSpan[] = [];
  let tarSize = 0;
  let before: TocChunk | undefined;
  for (const chunk of chunks.toSorted(byPlace)) {
    if (before !== undefined && isSame(before, chunk)) {
      tarOffsets.set(chunk, tarSize - chunk.size);
      continue;
    }
    check(chunk, before, payloadEnd);
    tarOffsets.set(chunk, tarSize);
    spans.push(spanOf(chunk, { number: spans.length, tarOffset: tarSize }));
    tarSize += chunk.size;
    before = chunk;
  }
  setLengths(spans, { tarSize, payloadEnd });
  return { spans, tarSize, tarOffsets };
}

function byPlace(a: TocChunk, b: TocChunk): number {
  return a.blobOffset - b.blobOffset || a.skip - b.skip;
}

function isSame(a: TocChunk, b: TocChunk): boolean {
  return byPlace(a, b) === 0 && a.size === b.size && a.digest.equals(b.digest);
}

function check(chunk: TocChunk, before: TocChunk | undefined, payloadEnd: number): void {
  const { blobOffset, skip, size } = chunk;
  if (blobOffset >= payloadEnd) {
    throw invalid(
      `a chunk lies at byte ${blobOffset} of the blob, expected one before ${payloadEnd}`,
    );
  }
  if (size > MAX_SPAN_SIZE) throw tooLarge('a chunk', size);
  if (before?.blobOffset === blobOffset && skip < before.skip + before.size) {
    throw invalid(`two chunks overlap at byte ${blobOffset} of the blob`);
  }
}

function spanOf(chunk: TocChunk, at: { number: number; tarOffset: number }): RecordedSpan {
  const { blobOffset, skip, digest } = chunk;
  return { ...at, blobOffset, blobLength: 0, bits: 0, skip, digest };
}

/** A member reaches to the next one at most. */
function setLengths(
  spans: readonly RecordedSpan[],
  { tarSize, payloadEnd }: { tarSize: number; payloadEnd: number },
): void {
  let end = payloadEnd;
  let length = 0;
  for (const [at, span] of [...spans.entries()].toReversed()) {
    const next = spans[at + 1];
    if (next?.blobOffset !== span.blobOffset) {
      end = next?.blobOffset ?? payloadEnd;
      const decoded = span.skip + (next?.tarOffset ?? tarSize) - span.tarOffset;
      length = Math.min(end - span.blobOffset, decoded * OVERHEAD_FACTOR + OVERHEAD);
      if (span.skip === 0 && length > MAX_SPAN_SIZE) throw tooLarge('a member', length);
    }
    span.blobLength = length;
  }
}

function tooLarge(what: string, size: number): SiphonError {
  return new SiphonError(
    'unsupported',
    `Cannot use table of contents: ${what} has ${size} bytes, expected at most ${MAX_SPAN_SIZE}`,
  );
}

function invalid(why: string): SiphonError {
  return new SiphonError('invalid', `Cannot use table of contents: ${why}`);
}

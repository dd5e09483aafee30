/**
 * The checkpoints of a zTOC (soci-snapshotter, ztoc/compression): for gzip a packed list of places in the
 * blob to the bit, with the 32 KiB of output before each; for an uncompressed tar only a distance. The
 * digests that come with them are of the spans' bytes in the blob; a byte that two spans share belongs
 * to both. Numbers are little-endian. Pure.
 */

import { deflateRawSync } from 'node:zlib';
import { SiphonError } from '../../common/errors.js';
import { WINDOW_SIZE } from '../../ffi/zlib.js';
import type { RecordedSpan } from '../span-recorder.js';

/** A span, and the window of its checkpoint as raw deflate. */
export interface SociSpan {
  span: RecordedSpan;
  window: Buffer | undefined;
}

export interface SociSpans {
  checkpoints: Buffer;
  /** Raw sha256, one a span. */
  digests: readonly Buffer[];
  blobSize: number;
  tarSize: number;
}

/** Count of checkpoints (4) and distance between them (8). */
const HEADER_SIZE = 12;
/** Position in the blob (8) and the tar (8), bits (1), window. */
const CHECKPOINT_SIZE = 17 + WINDOW_SIZE;
/** What the first version left out: the checkpoint right behind a gzip header without options. */
const FIRST_CHECKPOINT = { blob: 10, tar: 0, bits: 0, window: undefined };
const WINDOW_LEVEL = 2;
/** Version (4), distance (8), size of the tar (8). */
const TAR_INFO_SIZE = 20;

interface Checkpoint {
  blob: number;
  tar: number;
  bits: number;
  window: Buffer | undefined;
}

/**
 * @returns the spans, and the bytes of the blob's gzip header where the format does not say them
 * @throws SiphonError `invalid`
 */
export function* gzipSpans(from: SociSpans): Generator<SociSpan> {
  const points = [...checkpointsOf(from.checkpoints)];
  // One at the very end begins nothing.
  while ((points.at(-1)?.tar ?? 0) >= from.tarSize && points.length > 1) points.pop();
  for (const [number, point] of points.entries()) {
    const { blob, tar, bits, window } = point;
    const blobOffset = bits === 0 ? blob : blob - 1;
    const blobEnd = points[number + 1]?.blob ?? from.blobSize;
    const span = { number, tarOffset: tar, blobOffset, blobLength: blobEnd - blobOffset, bits };
    yield {
      span: { ...span, skip: 0, digest: digestOf(from, number) },
      window: window && deflateRawSync(window, { level: WINDOW_LEVEL }),
    };
  }
}

/** Whether the list leaves its first checkpoint out, which is right for a gzip header of 10 bytes only. */
export function lacksFirstCheckpoint(checkpoints: Buffer): boolean {
  return checkpoints.length === expectedSize(checkpoints) - CHECKPOINT_SIZE;
}

/** @throws SiphonError `invalid` */
export function* tarSpans(from: SociSpans): Generator<SociSpan> {
  const { checkpoints, tarSize } = from;
  const distance = checkpoints.length === TAR_INFO_SIZE ? safe(checkpoints, 4) : 0;
  if (distance <= 0) throw invalid(`it has ${checkpoints.length} bytes for an uncompressed tar`);
  for (let number = 0; number * distance < tarSize; number++) {
    const start = number * distance;
    const blobLength = Math.min(distance, tarSize - start);
    const place = { number, tarOffset: start, blobOffset: start, blobLength, bits: 0, skip: 0 };
    yield { span: { ...place, digest: digestOf(from, number) }, window: undefined };
  }
}

function* checkpointsOf(packed: Buffer): Generator<Checkpoint> {
  const expected = expectedSize(packed);
  const isOld = lacksFirstCheckpoint(packed);
  if (packed.length !== expected && !isOld)
    throw invalid(`its checkpoints have ${packed.length} bytes, expected ${expected}`);
  if (isOld) yield FIRST_CHECKPOINT;
  for (let at = HEADER_SIZE; at < packed.length; at += CHECKPOINT_SIZE) {
    const tar = safe(packed, at + 8);
    const window = packed.subarray(at + 17, at + CHECKPOINT_SIZE);
    yield {
      blob: safe(packed, at),
      tar,
      bits: packed[at + 16] ?? 0,
      // Nothing comes before the first byte.
      window: tar === 0 ? undefined : window.subarray(-Math.min(tar, WINDOW_SIZE)),
    };
  }
}

function expectedSize(packed: Buffer): number {
  const count = packed.length < HEADER_SIZE ? 0 : packed.readUInt32LE(0);
  return HEADER_SIZE + count * CHECKPOINT_SIZE;
}

function safe(bytes: Buffer, at: number): number {
  const value = Number(bytes.readBigInt64LE(at));
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw invalid(`a checkpoint lies at ${value}`);
}

function digestOf({ digests }: SociSpans, number: number): Buffer {
  const digest = digests[number];
  if (digest !== undefined) return digest;
  throw invalid(`it has ${digests.length} span digests, expected one for span ${number}`);
}

function invalid(why: string): SiphonError {
  return new SiphonError('invalid', `Cannot read zTOC: ${why}`);
}

import { SiphonError } from '../common/errors.js';

/** Uncompressed bytes between checkpoints. Larger spans make a smaller index and larger reads. */
export const DEFAULT_SPAN_SIZE = 1 << 20;
/** Most bytes that one span may hold, decoded or not: what a reader must take into memory at once. */
export const MAX_SPAN_SIZE = 64 << 20;
/**
 * Most decoded bytes between an entry point and the end of the last span of its group: what somebody who
 * reads one byte may have to wait for.
 */
export const MAX_GROUP_SIZE = 64 * 2 ** 30;

/**
 * Of what inflates to more than this, each byte of the blob may stand for at most {@link MAX_RATIO} of the tar,
 * which is the most that deflate can make of one: two bits for 258 bytes. So gzip is never refused, for whoever wants
 * to keep a processor busy could as well have many layers of as many zeros; zstd, which makes 32,768 of one, is free up
 * to here alone.
 */
const INFLATED_FREELY = 64 * 2 ** 30;
const MAX_RATIO = 1032;

/** Most bytes of the tar that the `blobBytes` bytes of a compressed blob may inflate to. */
export function mostInflated(blobBytes: number): number {
  return Math.max(INFLATED_FREELY, blobBytes * MAX_RATIO);
}

/**
 * @param tarSize of what has come of a blob so far, inflated; what is not compressed never has more
 * @param blobBytes how many those are; and all of it, where that is known: a layer may well begin with zeros
 * @throws SiphonError `unsupported` where that is more than {@link mostInflated}
 */
export function checkInflated(
  tarSize: number,
  { read, whole = 0 }: { read: number; whole?: number | undefined },
  verb: 'index' | 'unpack' = 'index',
): void {
  const blobBytes = Math.max(read, whole);
  const most = mostInflated(blobBytes);
  if (tarSize <= most) return;
  throw new SiphonError(
    'unsupported',
    `Cannot ${verb} layer: its ${blobBytes} bytes inflate to more than ${most}, expected at most that`,
  );
}

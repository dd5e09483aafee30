import { SiphonError } from '../common/errors.js';

/** Uncompressed bytes between checkpoints. Larger spans make a smaller index and larger reads. */
export const DEFAULT_SPAN_SIZE = 2 << 20;
/** Most bytes that one span may hold, decoded or not: what a reader must take into memory at once. */
export const MAX_SPAN_SIZE = 64 << 20;
/**
 * Most decoded bytes between an entry point and the end of the last span of its group: what somebody who
 * reads one byte may have to wait for.
 */
export const MAX_GROUP_SIZE = 64 * 2 ** 30;

/**
 * Of what inflates to more than this, each byte of the blob may stand for at most {@link MAX_RATIO} of the tar.
 * A layer of up to 64 GiB may be nothing but zeros; what is beyond is made to keep a processor busy.
 */
const INFLATED_FREELY = 64 * 2 ** 30;
const MAX_RATIO = 200;

/** Most bytes of the tar that `blobBytes` bytes of a compressed blob may inflate to. */
export function mostInflated(blobBytes: number): number {
  return Math.max(INFLATED_FREELY, blobBytes * MAX_RATIO);
}

/**
 * @param tarSize of what `blobBytes` bytes of a blob have inflated to; what is not compressed never has more
 * @throws SiphonError `unsupported` where that is more than {@link mostInflated}
 */
export function checkInflated(
  tarSize: number,
  blobBytes: number,
  verb: 'index' | 'unpack' = 'index',
): void {
  const most = mostInflated(blobBytes);
  if (tarSize <= most) return;
  throw new SiphonError(
    'unsupported',
    `Cannot ${verb} layer: the first ${blobBytes} bytes of it inflate to more than ${most}, expected at most that`,
  );
}

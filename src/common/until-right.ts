/** Bytes that are not what they must be are asked for once more, of another host where there is one. */

import { type BlobSource, MAX_REJECTIONS } from './blob-source.js';
import { errorCode } from './errors.js';

/**
 * What `attempt` makes of the blob; it is made again, with another source of the same blob, where it fails because
 * bytes were wrong.
 * @param onRejected is told of each such failure but the last
 * @throws what the last attempt throws
 */
export async function untilRight<T>(
  source: BlobSource,
  attempt: (from: BlobSource, rejected: number) => Promise<T>,
  onRejected: (error: unknown) => void = () => undefined,
): Promise<T> {
  for (let rejected = 0; ; rejected += 1) {
    try {
      return await attempt((rejected > 0 && source.elsewhere?.(rejected)) || source, rejected);
    } catch (error) {
      const isFinal = source.elsewhere === undefined || rejected === MAX_REJECTIONS;
      if (errorCode(error) !== 'corrupt' || isFinal) throw error;
      onRejected(error);
    }
  }
}

import type { BlobSource } from '../common/blob-source.js';
import { SiphonError } from '../common/errors.js';
import type { RemoteTimeouts, RetryPolicy } from './policy.js';

export interface HttpBlobOptions {
  timeouts?: Partial<RemoteTimeouts>;
  retry?: Partial<RetryPolicy>;
}

/** Opens a plain http(s) URL as a blob. */
export async function openHttpBlob(
  _url: string,
  _signal: AbortSignal,
  _options: HttpBlobOptions = {},
): Promise<BlobSource> {
  throw new SiphonError('unsupported', 'Cannot read URLs: not built yet');
}

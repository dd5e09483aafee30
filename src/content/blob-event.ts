import type { Digest } from '../common/digest.js';

/** What is being done about one blob of an image, for whoever shows progress. */
export interface BlobEvent {
  digest: Digest;
  /** `exists`: it was there already. */
  status: 'fetching' | 'importing' | 'exporting' | 'uploading' | 'exists' | 'done';
  /** Bytes, out of `total`. */
  done: number;
  total: number;
}

export type BlobListener = (event: BlobEvent) => void;

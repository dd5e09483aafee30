/**
 * A blob as addressable bytes, wherever it lies: behind a registry, in an OCI layout, in a file.
 * This is all that the index and the layers know of where bytes come from.
 */

import type { Urgency } from './urgency.js';

export interface BlobSource {
  /** For messages and logs: what and where, without credentials or URL query. */
  readonly name: string;
  /** Length in bytes. */
  readonly size: number;
  /** Whether reading costs no network. */
  readonly local: boolean;
  /** How many bytes come in the time that one more read takes; absent where that is nothing. */
  readonly requestCost?: number;
  /**
   * Exactly `length` bytes from `offset`; `0 <= offset`, `offset + length <= size`.
   * @throws SiphonError `unavailable`, `timeout`, `unauthorized`, `not-found`, `corrupt` (shorter or
   * other bytes than asked for), `cancelled`
   * @param urgency for sources that have to choose what comes first; default: somebody waits for it
   */
  read(offset: number, length: number, signal: AbortSignal, urgency?: Urgency): Promise<Buffer>;
  /** As {@link read}, into memory of the caller's; where that saves a copy. */
  readInto?(offset: number, target: Uint8Array, signal: AbortSignal): Promise<void>;
  /**
   * The blob in order, unverified; the consumer hashes. Errors as {@link read}.
   * @param from the first byte; default 0, at most `size`
   * @param urgency as of {@link read}
   */
  stream(signal: AbortSignal, from?: number, urgency?: Urgency): AsyncIterable<Uint8Array>;
  /**
   * The same blob for bytes that came `rejected` times and were not what they must be: another host is
   * asked, where there is one. Closed with this one.
   */
  elsewhere?(rejected: number): BlobSource;
  close(): Promise<void>;
}

/** How often bytes that are wrong are asked for once more. */
export const MAX_REJECTIONS = 2;

/** Bytes that arrived so far, out of `total`. */
export type ProgressListener = (done: number, total: number) => void;

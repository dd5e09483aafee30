/**
 * A blob as addressable bytes, wherever it lies: behind a registry, in an OCI layout, in a file.
 * This is all that the index and the layers know of where bytes come from.
 */
export interface BlobSource {
  /** For messages and logs: what and where, without credentials or URL query. */
  readonly name: string;
  /** Length in bytes. */
  readonly size: number;
  /** Whether reading costs no network. */
  readonly local: boolean;
  /**
   * Exactly `length` bytes from `offset`; `0 <= offset`, `offset + length <= size`.
   * @throws SiphonError `unavailable`, `timeout`, `unauthorized`, `not-found`, `corrupt` (shorter or
   * other bytes than asked for), `cancelled`
   */
  read(offset: number, length: number, signal: AbortSignal): Promise<Buffer>;
  /** The whole blob in order, unverified; the consumer hashes. Errors as {@link read}. */
  stream(signal: AbortSignal): AsyncIterable<Uint8Array>;
  close(): Promise<void>;
}

/** Bytes that arrived so far, out of `total`. */
export type ProgressListener = (done: number, total: number) => void;

/** Blob sources as streams of bytes. */

import type { BlobSource } from '../common/blob-source.js';

/** Bytes asked for at a time when a download goes on where an earlier one stopped. */
const RESUME_CHUNK = 4 * 1024 * 1024;

/** The blob from `offset` on. Errors as {@link BlobSource.read}. */
export async function* streamFrom(
  source: BlobSource,
  offset: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  if (offset === 0) {
    yield* source.stream(signal);
    return;
  }
  for (let at = offset; at < source.size; at += RESUME_CHUNK) {
    yield await source.read(at, Math.min(RESUME_CHUNK, source.size - at), signal);
  }
}

/** The whole blob; it is closed when its reader has done with it. */
export async function* streamAndClose(
  blob: BlobSource,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  try {
    yield* blob.stream(signal);
  } finally {
    await blob.close();
  }
}

/** Blob sources as streams of bytes. */

import type { BlobSource } from '../common/blob-source.js';

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

/** A blob that is read right into the memory of who works on it, which saves copying each byte. */

import type { BlobSource } from '../common/blob-source.js';

export interface BlockReader {
  /** Fills `block` with the next bytes; resolves to how many, fewer than it takes only at the end. */
  readBlock(block: Buffer): Promise<number>;
}

/**
 * Reads `source` from its first byte on; `undefined` where it cannot be read into given memory.
 * @param onBytes is told how many bytes have arrived
 */
export function blockReader(
  source: BlobSource,
  signal: AbortSignal,
  onBytes?: (done: number) => void,
): BlockReader | undefined {
  if (source.readInto === undefined) return undefined;
  let done = 0;
  onBytes?.(done);
  return {
    async readBlock(block) {
      const target = block.subarray(0, source.size - done);
      await source.readInto?.(done, target, signal);
      done += target.length;
      onBytes?.(done);
      return target.length;
    },
  };
}

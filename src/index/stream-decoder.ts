/**
 * Compressed bytes in, plain bytes out, in pieces and in flat memory. Decoding runs on a thread of libuv's
 * pool.
 */

import { SiphonError } from '../common/errors.js';
import { GzipStream } from './gzip-stream.js';
import type { Compression } from './layer-model.js';

/** The next compressed bytes, which stay as they are until more are asked for; `undefined` at the end. */
export type PieceSource = () => Promise<Buffer | undefined>;

/** Where decoding begins: at the start of the layer by default. */
export interface EntryPoint {
  /** How many high bits of the first byte are meant; 0 means the whole byte. */
  bits: number;
  /** Decoded bytes before. */
  window: Buffer | undefined;
}

export const LAYER_START: EntryPoint = { bits: 0, window: undefined };

export interface StreamDecoder extends Disposable {
  /**
   * Writes the next bytes to `output`: as many as it takes, fewer only at the end. Returns their number.
   * @throws SiphonError `corrupt`; and what the source of the pieces throws
   */
  fill(output: Buffer): Promise<number>;
}

export function streamDecoder(
  compression: Compression,
  next: PieceSource,
  entry: EntryPoint,
): StreamDecoder {
  switch (compression) {
    case 'gzip':
      return new GzipStream(next, entry);
    case 'zstd':
    case 'none':
      throw new SiphonError('unsupported', `Cannot decompress layer: it is ${compression}`);
  }
}

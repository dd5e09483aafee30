/** Compressed bytes in, plain bytes out, in pieces and in flat memory, from any entry point on. */

import type { EntryPoint, PieceSource, StreamDecoder } from './decoder-model.js';
import { GzipStream } from './gzip-stream.js';
import type { Compression } from './layer-model.js';
import { ZstdStream } from './zstd-stream.js';

/** @throws SiphonError `unsupported` where the library for it is missing */
export function streamDecoder(
  compression: Exclude<Compression, 'none'>,
  next: PieceSource,
  entry: EntryPoint,
): StreamDecoder {
  switch (compression) {
    case 'gzip':
      return new GzipStream(next, entry);
    case 'zstd':
      return new ZstdStream(next);
  }
}

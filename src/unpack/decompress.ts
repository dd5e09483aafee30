/**
 * A layer blob as it streams by, turned into the bytes of its tar. While one piece of the tar is worked on,
 * the next one is decompressed on a thread of libuv's pool, so that one layer keeps two processors busy.
 *
 * Pieces are valid until the next one is asked for, those of the input and those of the output.
 */

import { SIGNATURE_SIZE, detectCompression } from '../index/compression.js';
import { LAYER_START, type StreamDecoder } from '../index/decoder-model.js';
import type { Compression } from '../index/layer-model.js';
import { streamDecoder } from '../index/stream-decoder.js';

/** Decompressed at a time; a round on another thread costs about as much as inflating a tenth of it. */
const OUTPUT_SIZE = 1 << 19;

type Pieces = AsyncIterable<Buffer>;

/**
 * Tells what the blob is, from its first bytes.
 * @throws SiphonError `unsupported` naming the format
 */
export async function decompress(
  input: AsyncIterator<Buffer>,
): Promise<{ compression: Compression; tar: Pieces }> {
  let head = Buffer.alloc(0);
  while (head.length < SIGNATURE_SIZE) {
    const next = await input.next();
    if (next.done === true) break;
    head = Buffer.concat([head, next.value]);
  }
  const compression = detectCompression(head);
  const whole = withHead(head, input);
  if (compression === 'none') return { compression, tar: whole };
  const next = async (): Promise<Buffer | undefined> => (await whole.next()).value;
  return { compression, tar: decoded(streamDecoder(compression, next, LAYER_START)) };
}

async function* withHead(
  head: Buffer,
  input: AsyncIterator<Buffer>,
): AsyncGenerator<Buffer, undefined> {
  if (head.length > 0) yield head;
  for (let next = await input.next(); next.done !== true; next = await input.next()) {
    yield next.value;
  }
  return undefined;
}

async function* decoded(decoder: StreamDecoder): AsyncGenerator<Buffer> {
  const fill = async (output: Buffer): Promise<Buffer> =>
    output.subarray(0, await decoder.fill(output));
  let filling = fill(Buffer.allocUnsafeSlow(OUTPUT_SIZE));
  let spare: Buffer = Buffer.allocUnsafeSlow(OUTPUT_SIZE);
  try {
    for (;;) {
      const piece = await filling;
      if (piece.length === 0) return;
      filling = fill(spare);
      // Seen when it is awaited, which may be after the piece was worked on, or never.
      filling.catch(() => undefined);
      yield piece;
      spare = Buffer.from(piece.buffer);
    }
  } finally {
    await filling.catch(() => undefined);
    decoder[Symbol.dispose]();
  }
}

/**
 * Decodes spans that share an entry point in one pass, in flat memory: what lies between the entry point
 * and the spans is decoded and dropped.
 */

import { SiphonError, errorCode } from '../common/errors.js';
import { passing } from '../common/spare-buffers.js';
import type { Span } from './layer-model.js';
import type { StreamDecoder } from './decoder-model.js';

/** Decoded at a time where it is dropped. */
const SCRATCH_SIZE = 1 << 20;

export interface DecodedSpan {
  span: Span;
  /** Its bytes, unverified, until the next span is asked for. */
  plain: Buffer;
  /** How many bytes were decoded for it. */
  decoded: number;
}

interface DecodeOptions {
  /** What to throw where a span cannot be decoded. */
  damaged: (span: Span, cause: unknown) => SiphonError;
  /** Is called every few milliseconds, and throws to end the work. */
  checkWanted: () => void;
}

/**
 * @param spans of one group, in order
 * @param decoder at the entry point
 * @throws also what the decoder's source throws
 */
export async function* decodeSpans(
  spans: readonly Span[],
  decoder: StreamDecoder,
  { damaged, checkWanted }: DecodeOptions,
): AsyncGenerator<DecodedSpan> {
  let at = 0;
  for (const span of spans) {
    const end = span.skip + span.tarLength;
    const plain = passing.take(span.tarLength);
    try {
      await drop(decoder, span.skip - at, checkWanted);
      checkWanted();
      await fill(decoder, plain);
      checkWanted();
      yield { span, plain, decoded: end - at };
    } catch (error) {
      throw errorCode(error) === 'corrupt' ? damaged(span, error) : error;
    } finally {
      passing.giveBack(plain);
    }
    at = end;
  }
}

async function drop(
  decoder: StreamDecoder,
  length: number,
  checkWanted: () => void,
): Promise<void> {
  const scratch = passing.take(Math.min(SCRATCH_SIZE, length));
  try {
    for (let left = length; left > 0; left -= scratch.length) {
      checkWanted();
      await fill(decoder, scratch.subarray(0, left));
    }
  } finally {
    passing.giveBack(scratch);
  }
}

async function fill(decoder: StreamDecoder, output: Buffer): Promise<void> {
  if ((await decoder.fill(output)) === output.length) return;
  throw new SiphonError('corrupt', 'Cannot decode span: the data ends too early');
}

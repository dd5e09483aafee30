/**
 * Decodes one span of a gzip layer from its checkpoint, and nothing before it. A span may run over the
 * end of a gzip member into the next one.
 */

import { SiphonError } from '../common/errors.js';
import { Inflate, Z } from '../ffi/zlib.js';
import { GZIP_TRAILER_SIZE, deflateDataStart } from './gzip-header.js';
import type { Span } from './layer-model.js';

/**
 * @param bytes the span's bytes of the blob; not changed until this resolves
 * @param window output before the span, where the checkpoint has one
 * @returns the span's `tarLength` bytes, unverified. Inflated on a thread of libuv's pool.
 * @throws SiphonError `corrupt` where they cannot be inflated
 */
export async function inflateSpan(
  span: Span,
  bytes: Buffer,
  window: Buffer | undefined,
): Promise<Buffer> {
  const output = Buffer.allocUnsafeSlow(span.tarLength);
  using inflate = new Inflate('raw');
  begin(inflate, span, { bytes, window });
  inflate.setOutput(output);
  for (;;) {
    const code = await inflate.runAsync(Z.NO_FLUSH);
    if (inflate.outputLeft === 0) return output;
    if (code !== Z.STREAM_END)
      throw damaged(span, code === Z.DATA_ERROR ? inflate.message : 'it ends too early');
    nextMember(inflate, span, bytes);
  }
}

function begin(
  inflate: Inflate,
  span: Span,
  from: { bytes: Buffer; window: Buffer | undefined },
): void {
  if (span.bits === 0) {
    inflate.setInput(from.bytes);
  } else {
    inflate.prime(span.bits, (from.bytes[0] ?? 0) >> (8 - span.bits));
    inflate.setInput(from.bytes.subarray(1));
  }
  if (from.window !== undefined) inflate.setWindow(from.window);
}

function nextMember(inflate: Inflate, span: Span, bytes: Buffer): void {
  const trailer = bytes.length - inflate.inputLeft;
  const start = deflateDataStart(bytes, trailer + GZIP_TRAILER_SIZE);
  if (start === undefined) throw damaged(span, 'no gzip member follows');
  inflate.reset('raw');
  inflate.setInput(bytes.subarray(start));
}

function damaged(span: Span, why: string): SiphonError {
  return new SiphonError(
    'corrupt',
    `Cannot inflate span ${span.number}: ${why}, expected ${span.tarLength} bytes`,
  );
}

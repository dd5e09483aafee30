/** The header of a gzip member (RFC 1952, section 2.3). Pure. */

/** CRC32 and length that end a member. */
export const GZIP_TRAILER_SIZE = 8;

const FIXED_SIZE = 10;
const FLAG = { HCRC: 2, EXTRA: 4, NAME: 8, COMMENT: 16 } as const;

/**
 * Where the deflate data begins of the member whose header is at `offset`; `undefined` where the bytes
 * end before that or are no gzip header.
 */
export function deflateDataStart(bytes: Buffer, offset: number): number | undefined {
  if (bytes.length < offset + FIXED_SIZE || !isGzip(bytes, offset)) return undefined;
  const flags = bytes[offset + 3] ?? 0;
  let at: number | undefined = offset + FIXED_SIZE;
  if ((flags & FLAG.EXTRA) !== 0) at = afterExtra(bytes, at);
  if ((flags & FLAG.NAME) !== 0) at = afterNul(bytes, at);
  if ((flags & FLAG.COMMENT) !== 0) at = afterNul(bytes, at);
  if (at !== undefined && (flags & FLAG.HCRC) !== 0) at += 2;
  return at === undefined || at > bytes.length ? undefined : at;
}

/** Whether a gzip member (deflate, the only method there is) begins at `offset`. */
export function isGzip(bytes: Buffer, offset = 0): boolean {
  return bytes[offset] === 0x1f && bytes[offset + 1] === 0x8b && bytes[offset + 2] === 8;
}

function afterExtra(bytes: Buffer, at: number): number | undefined {
  return at + 2 > bytes.length ? undefined : at + 2 + bytes.readUInt16LE(at);
}

function afterNul(bytes: Buffer, at: number | undefined): number | undefined {
  if (at === undefined) return undefined;
  const end = bytes.indexOf(0, at);
  return end === -1 ? undefined : end + 1;
}

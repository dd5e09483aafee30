/** What a layer blob is, from its first bytes. Pure. */

import { SiphonError } from '../common/errors.js';
import type { Compression } from './layer-model.js';

/** How many first bytes are enough to tell. */
export const SIGNATURE_SIZE = 8;

const GZIP = Buffer.from([0x1f, 0x8b, 8]);
const ZSTD_MAGIC = 0xfd2fb528;
/** The magic numbers of the sixteen kinds of frames to skip (RFC 8878, section 3.1.2), but for four bits. */
const ZSTD_SKIPPABLE = 0x184d2a5;

/** How each is told, in words. */
export const COMPRESSION_SIGNS: Readonly<Record<Compression, string>> = {
  gzip: 'begins as gzip does',
  zstd: 'begins with a zstd frame',
  none: 'begins as no compression does',
};

/** Formats that are known but not served. */
const UNSUPPORTED: readonly { name: string; matches: (bytes: Buffer) => boolean }[] = [
  { name: 'bzip2', matches: (bytes) => bytes.toString('latin1', 0, 3) === 'BZh' },
  { name: 'xz', matches: (bytes) => bytes.toString('latin1', 0, 6) === '\xfd7zXZ\0' },
  { name: 'lz4', matches: (bytes) => bytes.length >= 4 && bytes.readUInt32LE(0) === 0x184d2204 },
  { name: 'lzip', matches: (bytes) => bytes.toString('latin1', 0, 4) === 'LZIP' },
  {
    name: 'compress',
    matches: (bytes) => bytes[0] === 0x1f && (bytes[1] === 0x9d || bytes[1] === 0xa0),
  },
  // A layer's index, for one, which is no layer.
  {
    name: 'an SQLite database',
    matches: (bytes) => bytes.toString('latin1', 0, SIGNATURE_SIZE) === 'SQLite f',
  },
  { name: 'zip', matches: (bytes) => bytes.toString('latin1', 0, 4) === 'PK\x03\x04' },
];

/**
 * Tells the compression of a layer. What matches nothing is taken for a tar, whose headers have a
 * checksum of their own.
 * @throws SiphonError `unsupported`, naming the format
 */
export function detectCompression(signature: Buffer): Compression {
  if (signature.indexOf(GZIP) === 0) return 'gzip';
  if (isZstd(signature)) return 'zstd';
  for (const { name, matches } of UNSUPPORTED) {
    if (matches(signature)) {
      throw new SiphonError(
        'unsupported',
        `Cannot index layer: it is ${name}, expected gzip, zstd or an uncompressed tar`,
      );
    }
  }
  return 'none';
}

function isZstd(bytes: Buffer): boolean {
  if (bytes.length < 4) return false;
  const magic = bytes.readUInt32LE(0);
  return magic === ZSTD_MAGIC || magic >>> 4 === ZSTD_SKIPPABLE;
}

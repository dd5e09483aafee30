/** What a layer blob is, from its first bytes. Pure. */

import { SiphonError } from '../common/errors.js';
import type { Compression } from './layer-model.js';

/** How many first bytes are enough to tell. */
export const SIGNATURE_SIZE = 8;

const GZIP = Buffer.from([0x1f, 0x8b, 8]);

/** Formats that are known but not served. */
const UNSUPPORTED: readonly { name: string; matches: (bytes: Buffer) => boolean }[] = [
  { name: 'zstd', matches: (bytes) => bytes.length >= 4 && bytes.readUInt32LE(0) === 0xfd2fb528 },
  {
    name: 'zstd',
    matches: (bytes) => bytes.length >= 4 && bytes.readUInt32LE(0) >>> 4 === 0x184d2a5,
  },
  { name: 'bzip2', matches: (bytes) => bytes.toString('latin1', 0, 3) === 'BZh' },
  { name: 'xz', matches: (bytes) => bytes.toString('latin1', 0, 6) === '\xfd7zXZ\0' },
  { name: 'lz4', matches: (bytes) => bytes.length >= 4 && bytes.readUInt32LE(0) === 0x184d2204 },
  { name: 'lzip', matches: (bytes) => bytes.toString('latin1', 0, 4) === 'LZIP' },
  {
    name: 'compress',
    matches: (bytes) => bytes[0] === 0x1f && (bytes[1] === 0x9d || bytes[1] === 0xa0),
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
  for (const { name, matches } of UNSUPPORTED) {
    if (matches(signature)) {
      throw new SiphonError(
        'unsupported',
        `Cannot index layer: it is ${name}, expected gzip or an uncompressed tar`,
      );
    }
  }
  return 'none';
}

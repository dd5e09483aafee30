/** Tells by its first bytes how a layer or an archive is compressed. */

import type { BlobSource } from '../common/blob-source.js';
import { FileBlob } from '../common/file-blob.js';
import { mediaTypes } from '../remote/descriptor.js';

export type Compression = 'none' | 'gzip' | 'zstd' | 'xz' | 'bzip2';

const signatures: readonly { compression: Compression; bytes: readonly number[] }[] = [
  { compression: 'gzip', bytes: [0x1f, 0x8b] },
  { compression: 'zstd', bytes: [0x28, 0xb5, 0x2f, 0xfd] },
  { compression: 'xz', bytes: [0xfd, 0x37, 0x7a, 0x58, 0x5a] },
  { compression: 'bzip2', bytes: [0x42, 0x5a, 0x68] },
];
/** Bytes to be looked at. */
const SIGNATURE_LENGTH = 8;

/** By the file's bytes, or those of a slice of it. @throws SiphonError where it cannot be read */
export async function detectCompression(
  path: string,
  slice: { offset?: number; size?: number } = {},
): Promise<Compression> {
  const blob = await FileBlob.open(path, slice);
  try {
    return await compressionOf(blob, new AbortController().signal);
  } finally {
    await blob.close();
  }
}

export async function compressionOf(blob: BlobSource, signal: AbortSignal): Promise<Compression> {
  const start = await blob.read(0, Math.min(SIGNATURE_LENGTH, blob.size), signal);
  return compressionOfBytes(start);
}

export function compressionOfBytes(start: Uint8Array): Compression {
  const found = signatures.find(({ bytes }) => bytes.every((byte, at) => start[at] === byte));
  return found?.compression ?? 'none';
}

/** Media type of a layer tar; one that no specification names gets a name in its manner. */
export function layerMediaType(compression: Compression): string {
  switch (compression) {
    case 'none':
      return mediaTypes.ociLayer;
    case 'gzip':
      return mediaTypes.ociLayerGzip;
    case 'zstd':
      return mediaTypes.ociLayerZstd;
    case 'xz':
    case 'bzip2':
      return `${mediaTypes.ociLayer}+${compression}`;
  }
}

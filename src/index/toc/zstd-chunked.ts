/**
 * zstd:chunked (containers/storage, docs/containers-storage-zstd-chunked.md): a zstd layer with a frame
 * for each chunk, followed by skippable frames that hold the table of contents, compressed, and a footer
 * that says where it is. The manifest's annotations say the same and bind the table by its digest. Pure.
 */

import { type Digest, isDigest } from '../../common/digest.js';
import { SiphonError } from '../../common/errors.js';

export interface ZstdChunkedPlace {
  /** The compressed table in the blob. */
  offset: number;
  length: number;
  /** Bytes of the table itself. */
  size: number;
}

/** Bytes behind the header of the last skippable frame: of old writers, and of those with a tar-split. */
const FOOTER_SIZES = [40, 64] as const;
/** `GNUlInUx` of containers/storage; stargz-snapshotter wrote the second letter small for long. */
const MAGIC = /^G[Nn]UlInUx$/;
const MAGIC_SIZE = 8;
/** The only type of table there is ("CRFS"). */
const MANIFEST_TYPE = 1;
/** Magic number and length of a skippable frame (RFC 8878, section 3.1.2). */
const FRAME_HEADER_SIZE = 8;

/** containers/storage writes the first, stargz-snapshotter and old versions the second. */
const PREFIXES = ['io.github.containers.zstd-chunked.', 'io.containers.zstd-chunked.'] as const;

type Annotations = Readonly<Record<string, string>>;

/** The digest of the compressed table, as the manifest has it. */
export function zstdChunkedDigest(annotations: Annotations): Digest | undefined {
  const value = annotation(annotations, 'manifest-checksum');
  return value !== undefined && isDigest(value) ? value : undefined;
}

/**
 * Where the table is, as the manifest has it; `undefined` where it says nothing.
 * @throws SiphonError `invalid` where that cannot be
 */
export function zstdChunkedPlace(
  annotations: Annotations,
  blobSize: number,
): ZstdChunkedPlace | undefined {
  const value = annotation(annotations, 'manifest-position');
  if (value === undefined) return undefined;
  const match = /^(\d{1,15}):(\d{1,15}):(\d{1,15}):(\d{1,15})$/.exec(value);
  if (match === null) throw invalid(`its annotation is "${value}", expected four numbers`);
  const [offset = 0, length = 0, size = 0, type = 0] = match.slice(1).map(Number);
  return checkPlace({ offset, length, size }, type, blobSize);
}

/**
 * As {@link zstdChunkedPlace}, from the footer at the end of `tail`, which is the end of the blob.
 */
export function parseZstdChunkedFooter(
  tail: Buffer,
  blobSize: number,
): ZstdChunkedPlace | undefined {
  for (const footerSize of FOOTER_SIZES) {
    const footer = tail.subarray(-footerSize);
    if (footer.length < footerSize) continue;
    // Old writers end with it at once; new ones have three numbers more before it.
    if (!MAGIC.test(footer.toString('latin1', footerSize - MAGIC_SIZE))) continue;
    if (!isFrameOf(tail, footerSize)) continue;
    const [offset = 0, length = 0, size = 0, type = 0] = [0, 8, 16, 24].map((at) =>
      Number(footer.readBigUInt64LE(at)),
    );
    return checkPlace({ offset, length, size }, type, blobSize);
  }
  return undefined;
}

/** Where the frames of the tar end: before the header of the frame with the table. */
export function zstdChunkedEnd(place: ZstdChunkedPlace): number {
  return place.offset - FRAME_HEADER_SIZE;
}

/** Whether the last frame holds just the footer, where enough bytes are there to tell. */
function isFrameOf(tail: Buffer, footerSize: number): boolean {
  const at = tail.length - footerSize - 4;
  return at < 0 || tail.readUInt32LE(at) === footerSize;
}

function checkPlace(place: ZstdChunkedPlace, type: number, blobSize: number): ZstdChunkedPlace {
  const { offset, length } = place;
  if (type !== MANIFEST_TYPE) throw invalid(`its type is ${type}, expected ${MANIFEST_TYPE}`);
  if (offset >= FRAME_HEADER_SIZE && offset + length <= blobSize) return place;
  throw invalid(
    `it lies at bytes ${offset} to ${offset + length}, expected ones within the ${blobSize} of the blob`,
  );
}

function annotation(annotations: Annotations, name: string): string | undefined {
  for (const prefix of PREFIXES) {
    const value = annotations[`${prefix}${name}`];
    if (value !== undefined) return value;
  }
  return undefined;
}

function invalid(why: string): SiphonError {
  return new SiphonError('invalid', `Cannot read table of contents: ${why}`);
}

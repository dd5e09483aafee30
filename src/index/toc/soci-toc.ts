/** A zTOC together with the one fact about its blob that it may leave out. */

import type { BlobSource } from '../../common/blob-source.js';
import type { SociToc } from './packed-toc.js';

/** A gzip header without options (RFC 1952, section 2.3), and where in it they would be named. */
const HEADER_SIZE = 10;
const FLAGS = 3;

/**
 * @param bytes of the zTOC, already compared with its digest
 * @throws what the source throws
 */
export async function readSociToc(
  bytes: Uint8Array,
  source: BlobSource,
  signal: AbortSignal,
): Promise<SociToc> {
  const head = await source.read(0, Math.min(HEADER_SIZE, source.size), signal);
  return { format: 'soci', bytes, hasPlainHeader: head[FLAGS] === 0 };
}

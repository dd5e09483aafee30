/**
 * Of a layer that is indexed from its own bytes, whether it ends with a table of contents that was not used, for
 * whoever wonders why. Where the manifest names no digest nobody looks for one beforehand, for that would cost every
 * ordinary layer a round trip; the end of what is read whole costs nothing.
 */

import { errorCode } from '../../common/errors.js';
import { parseStargzFooter } from './estargz.js';
import { parseZstdChunkedFooter } from './zstd-chunked.js';

/** Of the longest footer: that of zstd:chunked, with the header of its frame. */
const FOOTER_SIZE = 72;

/** The last bytes of a blob that passes by. */
export class BlobEnd {
  #bytes: Buffer = Buffer.alloc(0);

  /** Keeps nothing of `bytes` itself. */
  push(bytes: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, bytes.subarray(-FOOTER_SIZE)]).subarray(-FOOTER_SIZE);
  }

  /** What stands there, in words; `undefined` for an ordinary layer. */
  unusedToc(blobSize: number): string | undefined {
    const kind = footerAt(this.#bytes, blobSize);
    if (kind === undefined) return undefined;
    return `it ends as ${kind} does, whose table of contents is used where the manifest names its digest`;
  }
}

function footerAt(end: Buffer, blobSize: number): string | undefined {
  try {
    const stargz = parseStargzFooter(end, blobSize);
    if (stargz !== undefined) return stargz.kind === 'estargz' ? 'eStargz' : 'legacy stargz';
    return parseZstdChunkedFooter(end, blobSize) === undefined ? undefined : 'zstd:chunked';
  } catch (error) {
    // Whatever lies has no table.
    if (errorCode(error) === undefined) throw error;
    return undefined;
  }
}

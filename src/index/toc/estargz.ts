/**
 * eStargz (stargz-snapshotter, docs/estargz.md) and its ancestor stargz: a gzip layer whose members begin
 * where files begin. Its last member is empty and names, in its header's extra field, the offset of a
 * member that holds a tar of one file, the table of contents. Pure.
 */

import { gunzipSync } from 'node:zlib';
import { SiphonError } from '../../common/errors.js';
import { BLOCK_SIZE, parseTarHeader } from '../tar-header.js';

/** The name of the table in its tar, and of what else the format adds to a layer's root. */
const TOC_NAME = 'stargz.index.json';
export const PREFETCH_LANDMARK = '.prefetch.landmark';
const NO_PREFETCH_LANDMARK = '.no.prefetch.landmark';
/** What a layer's root has for the format's sake only. */
export const TOC_MARKS: ReadonlySet<string> = new Set([
  PREFETCH_LANDMARK,
  NO_PREFETCH_LANDMARK,
  TOC_NAME,
]);

/** Annotation of the layer in its manifest: the digest of the table's JSON. */
export const TOC_DIGEST_ANNOTATION = 'containerd.io/snapshot/stargz/toc.digest';

export interface StargzFooter {
  kind: 'estargz' | 'legacy stargz';
  tocOffset: number;
  /** Bytes of the footer. */
  size: number;
}

/** How a gzip member with an extra field begins, and where the length of the field stands. */
const MEMBER_START = '\x1f\x8b\x08\x04';
const EXTRA_AT = 10;
/** What comes before and behind the offset, 16 hexadecimal digits; an empty stored block and trailer follow. */
const KINDS = [
  { kind: 'estargz', size: 51, before: '\x1a\0SG\x16\0' },
  { kind: 'legacy stargz', size: 47, before: '\x16\0' },
] as const;
const OFFSET_FORM = /^([0-9a-f]{16})STARGZ/;

/**
 * The footer at the end of `tail`, which is the end of a blob; `undefined` where there is none.
 * @param blobSize of the whole blob
 * @throws SiphonError `invalid` where the table would lie outside the blob
 */
export function parseStargzFooter(tail: Buffer, blobSize: number): StargzFooter | undefined {
  for (const { kind, size, before } of KINDS) {
    const footer = tail.length < size ? '' : tail.toString('latin1', tail.length - size);
    if (!footer.startsWith(MEMBER_START) || !footer.startsWith(before, EXTRA_AT)) continue;
    const [, digits] = OFFSET_FORM.exec(footer.slice(EXTRA_AT + before.length)) ?? [];
    if (digits === undefined) continue;
    const tocOffset = Number.parseInt(digits, 16);
    if (tocOffset >= blobSize - size) throw outside(tocOffset, blobSize - size);
    return { kind, size, tocOffset };
  }
  return undefined;
}

/**
 * The JSON of the table, from the gzip member that holds it.
 * @param limit most bytes that it may inflate to
 * @throws SiphonError `invalid` where it is no tar of that file, or larger
 */
export function unpackStargzToc(packed: Uint8Array, limit: number): Buffer {
  let tar: Buffer;
  try {
    tar = gunzipSync(packed, { maxOutputLength: limit });
  } catch (cause) {
    const message = `Cannot read table of contents: its gzip member is damaged, expected at most ${limit} bytes`;
    throw new SiphonError('invalid', message, { cause });
  }
  const header = tar.length < BLOCK_SIZE ? undefined : parseTarHeader(tar.subarray(0, BLOCK_SIZE));
  const json = tar.subarray(BLOCK_SIZE, BLOCK_SIZE + (header?.size ?? 0));
  if (header?.name === TOC_NAME && json.length === header.size) return json;
  throw new SiphonError(
    'invalid',
    `Cannot read table of contents: its member holds "${header?.name ?? ''}", expected a tar of "${TOC_NAME}"`,
  );
}

function outside(offset: number, end: number): SiphonError {
  return new SiphonError(
    'invalid',
    `Cannot read table of contents: its footer says that it lies at byte ${offset}, expected one before ${end}`,
  );
}

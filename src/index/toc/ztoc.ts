/**
 * SOCI's zTOC (soci-snapshotter, ztoc/fbs/ztoc.fbs): a FlatBuffer with the entries of a gzip or
 * uncompressed tar, where their contents lie in the tar, and checkpoints to decode it from. Pure.
 */

import { isDigest } from '../../common/digest.js';
import { SiphonError } from '../../common/errors.js';
import { type TarEntry, XATTR_KEY, type Xattr, boundTime, checkId } from '../tar-entry.js';
import { type ByteString, printable } from '../tar-header.js';
import { FlatTable } from './flat-table.js';
import { parseRfc3339 } from './rfc3339.js';
import { entryTypes } from './toc-model.js';
import type { SociSpans } from './zinfo.js';

export interface Ztoc extends SociSpans {
  compression: 'gzip' | 'none';
  /** In the order of the tar, each with the place of its content there. */
  entries: Iterable<{ entry: TarEntry; dataOffset: number }>;
}

/** Fields of the schema, by their numbers. */
const ZTOC = { version: 0, blobSize: 2, tarSize: 3, toc: 4, compression: 5 } as const;
const TOC = { metadata: 0 } as const;
const COMPRESSION = { algorithm: 0, spanDigests: 2, checkpoints: 3 } as const;
const FILE = {
  name: 0,
  type: 1,
  offset: 2,
  size: 3,
  linkName: 4,
  mode: 5,
  uid: 6,
  gid: 7,
  modTime: 10,
  devMajor: 11,
  devMinor: 12,
  xattrs: 13,
} as const;
const XATTR = { key: 0, value: 1 } as const;
const SPARSE_PREFIX = 'GNU.sparse.';
/** The namespaces of xattr(7), in which no PAX record is. */
const BARE_XATTR = /^(?:security|system|trusted|user)\./;

/** 0.9 and 1.x have the same fields. */
const VERSION = /^(?:0\.9|1\.\d+)$/;
const GZIP = 1;
const ALGORITHMS: ReadonlyMap<number, Ztoc['compression']> = new Map([
  [GZIP, 'gzip'],
  [2, 'none'],
]);

/**
 * Entries are read as they are asked for.
 * @throws SiphonError `invalid` where it is no zTOC, `unsupported` for versions and compressions not
 * known here; the entries throw the same
 */
export function parseZtoc(bytes: Buffer): Ztoc {
  const root = FlatTable.root(bytes);
  const version = text(root, ZTOC.version);
  if (!VERSION.test(version))
    throw unsupported(`its version is "${printable(version)}"`, '0.9 or 1');
  const info = root.table(ZTOC.compression);
  const toc = root.table(ZTOC.toc);
  if (info === undefined || toc === undefined) throw invalid('it has no entries or no checkpoints');
  const algorithm = info.uint8(COMPRESSION.algorithm, GZIP);
  const compression = ALGORITHMS.get(algorithm);
  if (compression === undefined)
    throw unsupported(`its compression is ${algorithm}`, 'gzip or none');
  const tarSize = root.int64(ZTOC.tarSize);
  return {
    compression,
    blobSize: root.int64(ZTOC.blobSize),
    tarSize,
    digests: [...info.strings(COMPRESSION.spanDigests)].map(rawDigest),
    checkpoints: info.bytes(COMPRESSION.checkpoints),
    entries: entriesOf(toc, tarSize),
  };
}

function* entriesOf(
  toc: FlatTable,
  tarSize: number,
): Generator<{ entry: TarEntry; dataOffset: number }> {
  for (const file of toc.tables(TOC.metadata)) {
    const entry = tarEntryOf(file);
    const dataOffset = file.int64(FILE.offset);
    if (dataOffset < 0 || dataOffset + entry.size > tarSize) {
      throw invalid(`the content of "${printable(entry.path)}" lies outside the tar`);
    }
    yield { entry, dataOffset };
  }
}

function tarEntryOf(file: FlatTable): TarEntry {
  const path = text(file, FILE.name);
  const type = entryTypes.get(text(file, FILE.type));
  if (type === undefined) throw invalid(`"${printable(path)}" is of no kind of file`);
  const size = file.int64(FILE.size);
  if (size < 0) throw invalid(`the size of "${printable(path)}" is ${size}`);
  const time = parseRfc3339(text(file, FILE.modTime));
  if (time === undefined) throw invalid(`the time of "${printable(path)}" is none`);
  const bounded = boundTime(time);
  return {
    type,
    path,
    mode: file.int64(FILE.mode) & 0o7777,
    uid: checkId('uid', file.uint32(FILE.uid), path),
    gid: checkId('gid', file.uint32(FILE.gid), path),
    size: type === 'file' ? size : 0,
    mtimeSeconds: bounded.seconds,
    mtimeNanoseconds: bounded.nanoseconds,
    linkPath: text(file, FILE.linkName),
    devMajor: deviceNumber(file, FILE.devMajor),
    devMinor: deviceNumber(file, FILE.devMinor),
    xattrs: xattrsOf(file, path),
  };
}

/** They are the PAX records of the entry, of which some are xattrs; very old writers had those alone, by their own names. */
function xattrsOf(file: FlatTable, path: ByteString): Xattr[] {
  const xattrs: Xattr[] = [];
  for (const record of file.tables(FILE.xattrs)) {
    const key = record.bytes(XATTR.key).toString('latin1');
    // Its content is not stored in one piece, and the pieces are not told.
    if (key.startsWith(SPARSE_PREFIX))
      throw unsupported(`"${printable(path)}" is sparse`, 'a plain file');
    const name = xattrNameOf(key);
    if (name !== undefined)
      xattrs.push({ name, value: record.bytes(XATTR.value).toString('latin1') });
  }
  return xattrs;
}

/** What else a record says is in the entry already, or nobody's to keep, however long it is. */
function xattrNameOf(key: ByteString): ByteString | undefined {
  if (key.startsWith(XATTR_KEY)) return key.slice(XATTR_KEY.length);
  return BARE_XATTR.test(key) ? key : undefined;
}

function text(table: FlatTable, field: number): ByteString {
  const value = table.bytes(field).toString('latin1');
  if (value.includes('\0')) throw invalid('a name in it holds a NUL');
  return value;
}

function deviceNumber(file: FlatTable, field: number): number {
  const value = file.int64(field);
  if (value >>> 0 === value) return value;
  throw invalid(`a device number in it is ${value}`);
}

function rawDigest(bytes: Buffer): Buffer {
  const digest = bytes.toString('latin1');
  if (!isDigest(digest))
    throw unsupported(`a span has the digest "${printable(digest)}"`, 'sha256');
  return Buffer.from(digest.slice('sha256:'.length), 'hex');
}

function invalid(why: string): SiphonError {
  return new SiphonError('invalid', `Cannot read zTOC: ${why}`);
}

function unsupported(why: string, expected: string): SiphonError {
  return new SiphonError('unsupported', `Cannot use zTOC: ${why}, expected ${expected}`);
}

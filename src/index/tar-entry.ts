/**
 * One entry of a tar: its header with what PAX records and GNU long names override. Pure.
 */

import { SiphonError } from '../common/errors.js';
import { type PaxRecords, SPARSE, parsePaxNumber, parsePaxTime, sparseVersion } from './pax.js';
import type { StoredPiece } from './sparse.js';
import { type ByteString, type TarHeader, printable } from './tar-header.js';

export type EntryType =
  'file' | 'directory' | 'symlink' | 'hardlink' | 'character' | 'block' | 'fifo';

export interface TarEntry {
  type: EntryType;
  /** As the tar has it: not cleaned. */
  path: ByteString;
  /** Permission and set-id bits only. */
  mode: number;
  uid: number;
  gid: number;
  /** Bytes of content; 0 for everything but files. */
  size: number;
  /** Of a sparse file: what the tar has of its content, in this order; the rest is zeros. */
  pieces?: readonly StoredPiece[];
  mtimeSeconds: number;
  mtimeNanoseconds: number;
  /** Target of a symlink or hard link. */
  linkPath: ByteString;
  devMajor: number;
  devMinor: number;
  xattrs: Xattr[];
}

export interface Xattr {
  name: ByteString;
  value: ByteString;
}

/** What came before a header and speaks of the same entry. */
export interface HeaderOverrides {
  pax?: PaxRecords;
  /** Payload of GNU type `L`. */
  longName?: ByteString;
  /** Payload of GNU type `K`. */
  longLink?: ByteString;
}

const TYPES: ReadonlyMap<string, EntryType> = new Map([
  ['\0', 'file'],
  ['0', 'file'],
  ['S', 'file'],
  ['1', 'hardlink'],
  ['2', 'symlink'],
  ['3', 'character'],
  ['4', 'block'],
  ['5', 'directory'],
  ['6', 'fifo'],
]);

/** PAX records whose key begins so are extended attributes. */
export const XATTR_KEY = 'SCHILY.xattr.';
/** uid_t and gid_t are 32 bits; the highest value means "leave as is" to chown(2). */
const MAX_ID = 2 ** 32 - 2;
/** What 64 bits of nanoseconds around the epoch can hold; times beyond become the epoch. */
const MAX_TIME = 2n ** 63n - 1n;
const BILLION = 1_000_000_000n;

/**
 * The size is that of the stored content, also where the file is sparse.
 * @throws SiphonError `unsupported` for entry types that nothing here reads, `corrupt` for records or
 * numbers that cannot be
 */
export function tarEntry(header: TarHeader, overrides: HeaderOverrides): TarEntry {
  const pax: PaxRecords = overrides.pax ?? new Map();
  const path =
    (sparseVersion(pax) === undefined ? undefined : nonEmpty(pax.get(SPARSE.name))) ??
    nonEmpty(overrides.longName) ??
    nonEmpty(pax.get('path')) ??
    header.name;
  const type = entryType(header, path);
  const time = boundTime(paxTime(pax, path) ?? { seconds: header.mtime, nanoseconds: 0 });
  return {
    type,
    path,
    mode: header.mode & 0o7777,
    uid: checkId('uid', paxNumber(pax, 'uid') ?? header.uid, path),
    gid: checkId('gid', paxNumber(pax, 'gid') ?? header.gid, path),
    size: type === 'file' ? checkSize(paxNumber(pax, 'size') ?? header.size, path) : 0,
    mtimeSeconds: time.seconds,
    mtimeNanoseconds: time.nanoseconds,
    linkPath: nonEmpty(overrides.longLink) ?? nonEmpty(pax.get('linkpath')) ?? header.linkName,
    devMajor: header.devMajor,
    devMinor: header.devMinor,
    xattrs: xattrsOf(pax),
  };
}

function entryType(header: TarHeader, path: ByteString): EntryType {
  const type = TYPES.get(header.type);
  if (type === undefined) {
    throw new SiphonError(
      'unsupported',
      `Cannot index tar entry "${printable(path)}": its type is "${printable(header.type)}", expected one of "0" to "6" or "S"`,
    );
  }
  // v7 had no type for directories: a slash at the end of the name says it.
  return header.type === '\0' && path.endsWith('/') ? 'directory' : type;
}

function xattrsOf(pax: PaxRecords): Xattr[] {
  const xattrs: Xattr[] = [];
  for (const [key, value] of pax) {
    if (key.startsWith(XATTR_KEY)) xattrs.push({ name: key.slice(XATTR_KEY.length), value });
  }
  return xattrs;
}

function paxNumber(pax: PaxRecords, key: string): number | undefined {
  const value = nonEmpty(pax.get(key));
  if (value === undefined) return undefined;
  return parsePaxNumber(value) ?? fail(key, value);
}

function paxTime(
  pax: PaxRecords,
  path: ByteString,
): { seconds: number; nanoseconds: number } | undefined {
  const value = nonEmpty(pax.get('mtime'));
  if (value === undefined) return undefined;
  return parsePaxTime(value) ?? fail(`mtime of "${printable(path)}"`, value);
}

function fail(what: string, value: ByteString): never {
  throw new SiphonError(
    'corrupt',
    `Cannot read PAX record ${what}: it is "${printable(value)}", expected a number`,
  );
}

/** An empty value means "as the header has it". */
function nonEmpty(value: ByteString | undefined): ByteString | undefined {
  return value === '' ? undefined : value;
}

/** @throws SiphonError `invalid` where no file can have that owner */
export function checkId(what: string, value: number, path: ByteString): number {
  if (value >= 0 && value <= MAX_ID) return value;
  throw new SiphonError(
    'invalid',
    `Cannot index tar entry "${printable(path)}": its ${what} is ${value}, expected 0 to ${MAX_ID}`,
  );
}

function checkSize(size: number, path: ByteString): number {
  if (size >= 0) return size;
  throw new SiphonError(
    'corrupt',
    `Cannot index tar entry "${printable(path)}": its size is ${size}, expected 0 or more`,
  );
}

/** Times that 64 bits of nanoseconds cannot hold become the epoch, as containerd has it. */
export function boundTime(time: { seconds: number; nanoseconds: number }): {
  seconds: number;
  nanoseconds: number;
} {
  const total = BigInt(time.seconds) * BILLION + BigInt(time.nanoseconds);
  return total > MAX_TIME || total < -MAX_TIME ? { seconds: 0, nanoseconds: 0 } : time;
}

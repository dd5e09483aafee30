/**
 * One entry of a tar: its header with what PAX records and GNU long names override. Pure.
 */

import { SiphonError } from '../common/errors.js';
import {
  type PaxRecords,
  type PaxTime,
  SPARSE,
  parsePaxId,
  parsePaxNumber,
  parsePaxTime,
  sparseVersion,
} from './pax.js';
import type { StoredPiece } from './sparse.js';
import { type ByteString, type TarHeader, printable } from './tar-header.js';

export type EntryType =
  | 'file'
  | 'directory'
  | 'symlink'
  | 'hardlink'
  | 'character'
  | 'block'
  | 'fifo'
  /** A global PAX header: becomes no file, but takes the place of what has its name. */
  | 'global'
  /** Nothing that anybody can create; its name may still be one that means something else. */
  | 'unknown';

/** What an entry can become. */
export type FileType = Exclude<EntryType, 'hardlink' | 'global' | 'unknown'>;

export interface TarEntry {
  type: EntryType;
  /** The type flag as the header has it. */
  flag?: string;
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
  ['g', 'global'],
]);
/** Type flags of entries without content, whatever their size says. */
const WITHOUT_CONTENT = new Set(['1', '2', '3', '4', '5', '6']);

export const NO_RECORDS: PaxRecords = new Map();
/** PAX records whose key begins so are extended attributes. */
export const XATTR_KEY = 'SCHILY.xattr.';
/** uid_t and gid_t are 32 bits; the highest value means "leave as is" to chown(2). */
const MAX_ID = 2 ** 32 - 2;
/** Times whose seconds go no further fit 64 bits of nanoseconds around the epoch. */
const NEAR_SECONDS = 9_223_372_035;
/** What mknod(2) takes of a device's numbers. */
export const MAX_DEVICE = { major: 0xfff, minor: 0xfffff } as const;
const MAX_TIME = 2n ** 63n - 1n;
const BILLION = 1_000_000_000n;

/**
 * The size is that of the stored content, also where the file is sparse.
 * @throws SiphonError `corrupt` for records or numbers that cannot be
 */
export function tarEntry(header: TarHeader, overrides: HeaderOverrides): TarEntry {
  const pax = overrides.pax ?? NO_RECORDS;
  const given = nonEmpty(overrides.longName) ?? nonEmpty(pax.get('path')) ?? header.name;
  const path =
    (sparseVersion(pax) === undefined ? undefined : nonEmpty(pax.get(SPARSE.name))) ?? given;
  // v7 had no type for directories: a slash at the end of the name says it.
  const isOldDirectory = header.type === '\0' && given.endsWith('/');
  const type = isOldDirectory ? 'directory' : (TYPES.get(header.type) ?? 'unknown');
  checkTimes(pax, path);
  const time = boundTime(paxTime(pax, 'mtime', path) ?? { seconds: header.mtime, nanoseconds: 0 });
  return {
    type,
    flag: header.type,
    path,
    mode: header.mode & 0o7777,
    uid: owner(paxNumber(pax, 'uid', parsePaxId) ?? header.uid),
    gid: owner(paxNumber(pax, 'gid', parsePaxId) ?? header.gid),
    size: contentSize(header, pax, path, isOldDirectory),
    mtimeSeconds: time.seconds,
    mtimeNanoseconds: time.nanoseconds,
    linkPath: nonEmpty(overrides.longLink) ?? nonEmpty(pax.get('linkpath')) ?? header.linkName,
    devMajor: header.devMajor & MAX_DEVICE.major,
    devMinor: header.devMinor & MAX_DEVICE.minor,
    xattrs: xattrsOf(pax),
  };
}

/** chown(2) leaves the owner of who makes the file, root, where it is told the highest number. */
function owner(id: number): number {
  return id > MAX_ID ? 0 : id;
}

/** Both what the header and what the records say must be a size, even where one counts. */
function contentSize(
  header: TarHeader,
  pax: PaxRecords,
  path: ByteString,
  isOldDirectory: boolean,
): number {
  const size = paxNumber(pax, 'size', parsePaxNumber);
  if (WITHOUT_CONTENT.has(header.type)) return 0;
  checkSize(header.size, path);
  return isOldDirectory ? 0 : checkSize(size ?? header.size, path);
}

function xattrsOf(pax: PaxRecords): Xattr[] {
  const xattrs: Xattr[] = [];
  for (const [key, value] of pax) {
    if (key.startsWith(XATTR_KEY)) xattrs.push({ name: key.slice(XATTR_KEY.length), value });
  }
  return xattrs;
}

function paxNumber(
  pax: PaxRecords,
  key: string,
  parse: (value: ByteString) => number | undefined,
): number | undefined {
  const value = nonEmpty(pax.get(key));
  if (value === undefined) return undefined;
  return parse(value) ?? fail(key, value);
}

function paxTime(pax: PaxRecords, key: string, path: ByteString): PaxTime | undefined {
  const value = nonEmpty(pax.get(key));
  if (value === undefined) return undefined;
  return parsePaxTime(value) ?? fail(`${key} of "${printable(path.slice(0, 512))}"`, value);
}

/** Times that are not kept must be times all the same. */
function checkTimes(pax: PaxRecords, path: ByteString): void {
  if (pax.size === 0) return;
  paxTime(pax, 'atime', path);
  paxTime(pax, 'ctime', path);
}

function fail(what: string, value: ByteString): never {
  throw new SiphonError(
    'corrupt',
    `Cannot read PAX record ${what}: it is "${printable(value.slice(0, 64))}", expected a number`,
  );
}

/** An empty value means "as the header has it". */
function nonEmpty(value: ByteString | undefined): ByteString | undefined {
  return value === '' ? undefined : value;
}

/** The error for an entry of type `unknown`. */
export function unknownType({ path, flag = '' }: TarEntry): SiphonError {
  return new SiphonError(
    'unsupported',
    `Cannot index tar entry "${printable(path.slice(0, 512))}": its type is "${printable(flag)}", expected one of "0" to "6" or "S"`,
  );
}

/** @throws SiphonError `invalid` where no file can have that owner */
export function checkId(what: string, value: number, path: ByteString): number {
  if (value >= 0 && value <= MAX_ID) return value;
  throw new SiphonError(
    'invalid',
    `Cannot index tar entry "${printable(path.slice(0, 512))}": its ${what} is ${value}, expected 0 to ${MAX_ID}`,
  );
}

function checkSize(size: number, path: ByteString): number {
  if (size >= 0 && Number.isSafeInteger(size)) return size;
  throw new SiphonError(
    'corrupt',
    `Cannot index tar entry "${printable(path.slice(0, 512))}": its size is ${size}, expected 0 to 2^53`,
  );
}

/** Times that 64 bits of nanoseconds cannot hold become the epoch, as containerd has it. */
export function boundTime(time: PaxTime): PaxTime {
  if (Math.abs(time.seconds) <= NEAR_SECONDS) return time;
  const total = BigInt(time.seconds) * BILLION + BigInt(time.nanoseconds);
  return total > MAX_TIME || total < -MAX_TIME ? { seconds: 0, nanoseconds: 0 } : time;
}

/**
 * The 512-byte header block of tar, in all the dialects that layers hold: v7, ustar, PAX, star and GNU.
 * Pure: bytes in, values out. Names are byte strings: one character (0-255) a byte, never UTF-8 decoded,
 * so that what is not UTF-8 survives. Format: POSIX.1-2024 pax, "ustar Interchange Format"; GNU tar manual,
 * "Basic Tar Format".
 */

import { SiphonError } from '../common/errors.js';

/** Bytes as text, one character (U+0000 to U+00FF) a byte. */
export type ByteString = string;

export const BLOCK_SIZE = 512;

export interface TarHeader {
  name: ByteString;
  /** 32 bits, as are the owner and the device: what a system call takes of a longer number. */
  mode: number;
  uid: number;
  gid: number;
  /** May be negative; inexact beyond 2^53. */
  size: number;
  /** Whole seconds since the epoch, may be negative; inexact beyond 2^53. */
  mtime: number;
  /** The type flag as a character; a NUL for the v7 regular file. */
  type: string;
  linkName: ByteString;
  devMajor: number;
  devMinor: number;
}

/** Offset and length of each field. */
const FIELD = {
  name: [0, 100],
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  mtime: [136, 12],
  checksum: [148, 8],
  type: [156, 1],
  linkName: [157, 100],
  magic: [257, 8],
  devMajor: [329, 8],
  devMinor: [337, 8],
  prefix: [345, 155],
  gnuAccessTime: [345, 12],
  gnuChangeTime: [357, 12],
  starPrefix: [345, 131],
  starAccessTime: [476, 12],
  starChangeTime: [488, 12],
  starMagic: [508, 4],
} as const satisfies Record<string, readonly [number, number]>;
type Field = readonly [offset: number, length: number];

const USTAR = Buffer.from('ustar');
const GNU_MAGIC = Buffer.from('ustar  \0');
const STAR_MAGIC = Buffer.from('tar\0');

const SPACE = 0x20;
const ZERO = 0x30;
/** Marks a number that is no text, in its first byte. */
const BASE_256 = 0x80;

/** Who wrote the header, as far as its fields tell. */
type Dialect = 'v7' | 'ustar' | 'star' | 'GNU';

/**
 * Reads one header block; `undefined` for the block of zeros that ends an archive. What is a header, and of
 * which dialect, is decided as Go's archive/tar does it, which containerd unpacks with.
 * @throws SiphonError `corrupt` where the checksum or a number is off
 */
export function parseTarHeader(block: Buffer): TarHeader | undefined {
  if (isZero(block)) return undefined;
  if (!checksumMatches(block)) {
    throw new SiphonError(
      'corrupt',
      'Cannot read tar header: its checksum does not match, expected a tar header',
    );
  }
  const dialect = dialectOf(block);
  return {
    name: fullName(block, dialect),
    mode: low32(block, FIELD.mode),
    uid: low32(block, FIELD.uid),
    gid: low32(block, FIELD.gid),
    size: number(block, FIELD.size),
    mtime: number(block, FIELD.mtime),
    type: String.fromCharCode(block[FIELD.type[0]] ?? 0),
    linkName: text(block, FIELD.linkName),
    devMajor: dialect === 'v7' ? 0 : low32(block, FIELD.devMajor),
    devMinor: dialect === 'v7' ? 0 : low32(block, FIELD.devMinor),
  };
}

/**
 * A numeric field: octal digits among blanks and NULs, up to the first NUL; or, with the top bit set,
 * a big-endian two's complement number (GNU "base-256"). Beyond 2^53 the nearest number; `undefined` where it
 * is neither, or takes more than 64 bits.
 */
export function parseTarNumber(field: Uint8Array): number | undefined {
  return parseNumber(field, [0, field.length]);
}

function parseNumber(block: Uint8Array, [offset, length]: Field): number | undefined {
  if (((block[offset] ?? 0) & BASE_256) === 0) return parseOctal(block, offset, offset + length);
  const value = parseBase256(block.subarray(offset, offset + length));
  return value === undefined ? undefined : Number(value);
}

function parseOctal(block: Uint8Array, from: number, to: number): number | undefined {
  let at = from;
  let end = to;
  while (at < end && isBlank(block[at])) at += 1;
  while (end > at && isBlank(block[end - 1])) end -= 1;
  let value = 0;
  for (; at < end && block[at] !== 0; at++) {
    const digit = (block[at] ?? 0) - ZERO;
    if (digit < 0 || digit > 7) return undefined;
    value = value * 8 + digit;
  }
  return value;
}

function isBlank(byte: number | undefined): boolean {
  return byte === SPACE || byte === 0;
}

function parseBase256(field: Uint8Array): bigint | undefined {
  const hex = Buffer.from(field).toString('hex');
  const bits = field.length * 8 - 1;
  // The top bit is the marker; the one below it is the sign.
  const value = BigInt.asIntN(bits, BigInt(`0x${hex}`));
  return value === BigInt.asIntN(64, value) ? value : undefined;
}

function dialectOf(block: Buffer): Dialect {
  const [magic] = FIELD.magic;
  if (!startsWith(block, USTAR, magic)) return 'v7';
  if (startsWith(block, GNU_MAGIC, magic)) return 'GNU';
  if (block[magic + USTAR.length] !== 0) return 'v7';
  if (!startsWith(block, STAR_MAGIC, FIELD.starMagic[0])) return 'ustar';
  // They mean nothing here, but what has something else there is no header.
  number(block, FIELD.starAccessTime);
  number(block, FIELD.starChangeTime);
  return 'star';
}

function startsWith(block: Buffer, text: Buffer, at: number): boolean {
  for (let n = 0; n < text.length; n += 1) if (block[at + n] !== text[n]) return false;
  return true;
}

function fullName(block: Buffer, dialect: Dialect): ByteString {
  const name = text(block, FIELD.name);
  const prefix = namePrefix(block, dialect);
  return prefix === '' ? name : `${prefix}/${name}`;
}

function namePrefix(block: Buffer, dialect: Dialect): ByteString {
  switch (dialect) {
    case 'v7':
      return '';
    case 'ustar':
      return text(block, FIELD.prefix);
    case 'star':
      return text(block, FIELD.starPrefix);
    case 'GNU':
      return mistakenPrefix(block);
  }
}

/**
 * GNU headers have times where ustar has the prefix. Early Go wrote a prefix there all the same, which can be
 * told where it makes no times.
 */
function mistakenPrefix(block: Buffer): ByteString {
  if (mayBeTime(block, FIELD.gnuAccessTime) && mayBeTime(block, FIELD.gnuChangeTime)) return '';
  const prefix = text(block, FIELD.prefix);
  return isAscii(prefix) ? prefix : '';
}

function isAscii(value: ByteString): boolean {
  for (let at = 0; at < value.length; at++) if (value.charCodeAt(at) > 0x7f) return false;
  return true;
}

function mayBeTime(block: Buffer, field: Field): boolean {
  return block[field[0]] === 0 || parseNumber(block, field) !== undefined;
}

function number(block: Buffer, field: Field): number {
  const value = parseNumber(block, field);
  if (value === undefined) {
    throw new SiphonError(
      'corrupt',
      `Cannot read tar header: its ${nameOf(field)} is "${printable(all(block, field))}", expected a number`,
    );
  }
  return value;
}

function nameOf(field: Field): string {
  return Object.entries(FIELD).find(([, of]) => of === field)?.[0] ?? 'number';
}

/** The low 32 bits of a number, exact also where it is a long one. */
function low32(block: Buffer, field: Field): number {
  const value = number(block, field);
  if (Number.isSafeInteger(value)) return value >>> 0;
  const [offset, length] = field;
  return block.readUInt32BE(offset + length - 4);
}

function all(block: Buffer, [offset, length]: Field): ByteString {
  return block.toString('latin1', offset, offset + length);
}

/** What of a field comes before the first NUL. */
function text(block: Buffer, [offset, length]: Field): ByteString {
  let end = offset;
  while (end < offset + length && block[end] !== 0) end += 1;
  return end === offset ? '' : block.toString('latin1', offset, end);
}

/** The part before the first NUL. */
export function untilNul(value: ByteString): ByteString {
  const end = value.indexOf('\0');
  return end === -1 ? value : value.slice(0, end);
}

function isZero(block: Buffer): boolean {
  for (const byte of block) if (byte !== 0) return false;
  return true;
}

/** The sum counts the checksum field as blanks; some old writers summed signed bytes. */
function checksumMatches(block: Buffer): boolean {
  const [offset, length] = FIELD.checksum;
  const expected = parseOctal(block, offset, offset + length);
  let sum = length * SPACE + sumOf(block);
  for (let at = offset; at < offset + length; at++) sum -= block[at] ?? 0;
  return expected === sum || expected === sum - 256 * countNegative(block);
}

/** Of all bytes: four at a time, two in each half of a word, which overflows with none of that many. */
function sumOf(block: Buffer): number {
  const words = new DataView(block.buffer, block.byteOffset, BLOCK_SIZE);
  let halves = 0;
  for (let at = 0; at < BLOCK_SIZE; at += 4) {
    const word = words.getUint32(at);
    halves = (halves + (word & 0xff00ff) + ((word >>> 8) & 0xff00ff)) | 0;
  }
  return (halves >>> 16) + (halves & 0xffff);
}

/** Without the checksum's own. */
function countNegative(block: Buffer): number {
  const [offset, length] = FIELD.checksum;
  let count = 0;
  for (let at = 0; at < BLOCK_SIZE; at++)
    if (at < offset || at >= offset + length) count += (block[at] ?? 0) >> 7;
  return count;
}

/** A byte string fit for a message: what is not printable ASCII as `\xNN`. */
export function printable(value: ByteString): string {
  return value.replaceAll(
    /[^\x20-\x7e]/g,
    (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}

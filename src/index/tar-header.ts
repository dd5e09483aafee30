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

const SPACE = 0x20;
const ZERO = 0x30;

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
    mode: low32(block, 'mode'),
    uid: low32(block, 'uid'),
    gid: low32(block, 'gid'),
    size: number(block, 'size'),
    mtime: number(block, 'mtime'),
    type: bytes(block, FIELD.type),
    linkName: text(block, FIELD.linkName),
    devMajor: dialect === 'v7' ? 0 : low32(block, 'devMajor'),
    devMinor: dialect === 'v7' ? 0 : low32(block, 'devMinor'),
  };
}

/**
 * A numeric field: octal digits among blanks and NULs, up to the first NUL; or, with the top bit set,
 * a big-endian two's complement number (GNU "base-256"). Beyond 2^53 the nearest number; `undefined` where it
 * is neither, or takes more than 64 bits.
 */
export function parseTarNumber(field: Uint8Array): number | undefined {
  if (!isBase256(field)) return parseOctal(field);
  const value = parseBase256(field);
  return value === undefined ? undefined : Number(value);
}

function parseOctal(field: Uint8Array): number | undefined {
  let at = 0;
  let end = field.length;
  while (at < end && isBlank(field[at])) at += 1;
  while (end > at && isBlank(field[end - 1])) end -= 1;
  let value = 0;
  for (; at < end && field[at] !== 0; at++) {
    const digit = (field[at] ?? 0) - ZERO;
    if (digit < 0 || digit > 7) return undefined;
    value = value * 8 + digit;
  }
  return value;
}

function isBlank(byte: number | undefined): boolean {
  return byte === SPACE || byte === 0;
}

function isBase256(field: Uint8Array): boolean {
  return ((field[0] ?? 0) & 0x80) !== 0;
}

function parseBase256(field: Uint8Array): bigint | undefined {
  const hex = Buffer.from(field).toString('hex');
  const bits = field.length * 8 - 1;
  // The top bit is the marker; the one below it is the sign.
  const value = BigInt.asIntN(bits, BigInt(`0x${hex}`));
  return value === BigInt.asIntN(64, value) ? value : undefined;
}

function dialectOf(block: Buffer): Dialect {
  const magic = bytes(block, FIELD.magic);
  if (magic === 'ustar  \0') return 'GNU';
  if (!magic.startsWith('ustar\0')) return 'v7';
  if (bytes(block, FIELD.starMagic) !== 'tar\0') return 'ustar';
  // They mean nothing here, but what has something else there is no header.
  number(block, 'starAccessTime');
  number(block, 'starChangeTime');
  return 'star';
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

function mayBeTime(block: Buffer, [offset, length]: Field): boolean {
  if (block[offset] === 0) return true;
  return parseTarNumber(block.subarray(offset, offset + length)) !== undefined;
}

function number(block: Buffer, name: keyof typeof FIELD): number {
  const [offset, length] = FIELD[name];
  const value = parseTarNumber(block.subarray(offset, offset + length));
  if (value === undefined) {
    throw new SiphonError(
      'corrupt',
      `Cannot read tar header: its ${name} is "${printable(bytes(block, FIELD[name]))}", expected a number`,
    );
  }
  return value;
}

/** The low 32 bits of a number, exact also where it is a long one. */
function low32(block: Buffer, name: keyof typeof FIELD): number {
  const value = number(block, name);
  if (Number.isSafeInteger(value)) return value >>> 0;
  const [offset, length] = FIELD[name];
  return block.readUInt32BE(offset + length - 4);
}

function bytes(block: Buffer, [offset, length]: Field): ByteString {
  return block.toString('latin1', offset, offset + length);
}

function text(block: Buffer, [offset, length]: Field): ByteString {
  return untilNul(block.toString('latin1', offset, offset + length));
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
  const expected = parseOctal(block.subarray(offset, offset + length));
  let sum = length * SPACE;
  let negative = 0;
  for (let i = 0; i < BLOCK_SIZE; i++) {
    const byte = block[i] ?? 0;
    if (i >= offset && i < offset + length) continue;
    sum += byte;
    negative += byte >> 7;
  }
  return expected === sum || expected === sum - negative * 256;
}

/** A byte string fit for a message: what is not printable ASCII as `\xNN`. */
export function printable(value: ByteString): string {
  return value.replaceAll(
    /[^\x20-\x7e]/g,
    (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}

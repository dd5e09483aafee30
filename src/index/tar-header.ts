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
  mode: number;
  uid: number;
  gid: number;
  size: number;
  /** Whole seconds since the epoch, may be negative. */
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
  starPrefix: [345, 131],
  starMagic: [508, 4],
} as const satisfies Record<string, readonly [number, number]>;
type Field = readonly [offset: number, length: number];

const SPACE = 0x20;
const ZERO = 0x30;
const GNU_MAGIC = 'ustar  \0';

/**
 * Reads one header block; `undefined` for the block of zeros that ends an archive.
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
  const magic = bytes(block, FIELD.magic);
  const posix = magic.startsWith('ustar');
  return {
    name: fullName(block, magic),
    mode: number(block, 'mode'),
    uid: number(block, 'uid'),
    gid: number(block, 'gid'),
    size: number(block, 'size'),
    mtime: number(block, 'mtime'),
    type: bytes(block, FIELD.type),
    linkName: text(block, FIELD.linkName),
    devMajor: posix ? number(block, 'devMajor') : 0,
    devMinor: posix ? number(block, 'devMinor') : 0,
  };
}

/**
 * A numeric field: octal digits after blanks and NULs, ended by a NUL or blanks; or, with the top bit set,
 * a big-endian two's complement number (GNU "base-256"). `undefined` where it is neither, or beyond 2^53.
 */
export function parseTarNumber(field: Uint8Array): number | undefined {
  if (((field[0] ?? 0) & 0x80) !== 0) return parseBase256(field);
  let at = 0;
  while (field[at] === SPACE || field[at] === 0) at += 1;
  let value = 0;
  for (; isOctal(field[at]); at++) value = value * 8 + (field[at] ?? 0) - ZERO;
  while (field[at] === SPACE) at += 1;
  return at >= field.length || field[at] === 0 ? value : undefined;
}

function isOctal(byte: number | undefined): boolean {
  return byte !== undefined && byte >= ZERO && byte < ZERO + 8;
}

function parseBase256(field: Uint8Array): number | undefined {
  const hex = Buffer.from(field).toString('hex');
  const bits = field.length * 8 - 1;
  // The top bit is the marker; the one below it is the sign.
  const value = BigInt.asIntN(bits, BigInt(`0x${hex}`));
  return safe(Number(value));
}

function safe(value: number): number | undefined {
  return Number.isSafeInteger(value) ? value : undefined;
}

function fullName(block: Buffer, magic: string): ByteString {
  const name = text(block, FIELD.name);
  const prefix = namePrefix(block, magic);
  return prefix === '' ? name : `${prefix}/${name}`;
}

function namePrefix(block: Buffer, magic: string): ByteString {
  if (magic === GNU_MAGIC || !magic.startsWith('ustar\0')) return '';
  const star = bytes(block, FIELD.starMagic) === 'tar\0';
  return text(block, star ? FIELD.starPrefix : FIELD.prefix);
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
  const expected = parseTarNumber(block.subarray(offset, offset + length));
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

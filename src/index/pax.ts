/**
 * PAX extended headers: records `<length> <key>=<value>\n` that override the header after them
 * (POSIX.1-2024 pax, "pax Extended Header"). Pure; keys and values are byte strings.
 */

import { SiphonError } from '../common/errors.js';
import { type ByteString, printable } from './tar-header.js';

/** Later records of the same key win. */
export type PaxRecords = Map<ByteString, ByteString>;

/** Time of a PAX record; nanoseconds are added to the seconds also where those are negative. */
export interface PaxTime {
  seconds: number;
  nanoseconds: number;
}

const NEWLINE = 0x0a;
const BLANK = 0x20;
const PLUS = 0x2b;
const ZERO = 0x30;
const EQUALS = 0x3d;
/** Of a number, zeros in front not counted. */
const MAX_DIGITS = 20;
const NANOSECOND_DIGITS = 9;
const BILLION = 1_000_000_000;

/** Records about sparse files (GNU tar manual, "Storing Sparse Files"). */
export const SPARSE = {
  major: 'GNU.sparse.major',
  minor: 'GNU.sparse.minor',
  name: 'GNU.sparse.name',
  size: 'GNU.sparse.size',
  count: 'GNU.sparse.numblocks',
  realSize: 'GNU.sparse.realsize',
  map: 'GNU.sparse.map',
  offset: 'GNU.sparse.offset',
  length: 'GNU.sparse.numbytes',
} as const;

/** Keys whose values are names, so that a NUL can only be a lie. */
const NAME_KEYS = new Set(['path', 'linkpath', 'uname', 'gname']);

/**
 * The map of a sparse file that is given as many records (version 0.0) comes as the one record of
 * version 0.1.
 * @throws SiphonError `corrupt` where a record's length, key or value breaks the format
 */
export function parsePaxRecords(data: Buffer): PaxRecords {
  const records: PaxRecords = new Map();
  const sparse: ByteString[] = [];
  let offset = 0;
  while (offset < data.length) {
    const { start, end } = recordAt(data, offset);
    const [key, value] = parseRecord(data, start, end - 1);
    if (key === SPARSE.offset || key === SPARSE.length) addSparse(sparse, key, value);
    else records.set(key, value);
    offset = end;
  }
  if (sparse.length > 0) records.set(SPARSE.map, sparse.join(','));
  return records;
}

/** How the records say where a sparse file's pieces belong; the first versions had no record for it. */
export function sparseVersion(records: PaxRecords): '0.x' | '1.0' | undefined {
  const major = records.get(SPARSE.major) ?? '';
  const minor = records.get(SPARSE.minor) ?? '';
  if (major === '1' && minor === '0') return '1.0';
  const isOld =
    major === '' && minor === ''
      ? (records.get(SPARSE.map) ?? '') !== ''
      : major === '0' && (minor === '0' || minor === '1');
  return isOld ? '0.x' : undefined;
}

/**
 * `[sign]digits[.digits]`; digits past the ninth are cut. Seconds beyond 2^53 are inexact. `undefined` where it
 * is anything else, or takes more than 64 bits.
 */
export function parsePaxTime(value: ByteString): PaxTime | undefined {
  const match = /^([+-]?)(\d+)(?:\.(\d*))?$/.exec(value);
  if (match === null) return undefined;
  const [, sign = '', whole = '', fraction = ''] = match;
  const seconds = parsePaxNumber(`${sign}${whole}`);
  if (seconds === undefined) return undefined;
  const nanoseconds = Number(fraction.slice(0, NANOSECOND_DIGITS).padEnd(NANOSECOND_DIGITS, '0'));
  if (sign !== '-' || nanoseconds === 0) return { seconds: 0 + seconds, nanoseconds };
  return { seconds: seconds - 1, nanoseconds: BILLION - nanoseconds };
}

/**
 * A decimal number that may have a sign, as PAX has times and sizes: the nearest to what it says.
 * `undefined` where it is anything else, or takes more than 64 bits.
 */
export function parsePaxNumber(value: ByteString): number | undefined {
  if (!/^[+-]?\d+$/.test(value)) return undefined;
  const parsed = Number(value);
  if (Number.isSafeInteger(parsed)) return parsed;
  return exact(value) === undefined ? undefined : parsed;
}

/** The low 32 bits of such a number, which are what a system call takes of an owner's. */
export function parsePaxId(value: ByteString): number | undefined {
  const parsed = parsePaxNumber(value);
  if (parsed === undefined) return undefined;
  if (Number.isSafeInteger(parsed)) return parsed >>> 0;
  return Number(BigInt.asUintN(32, exact(value) ?? 0n));
}

/** `undefined` where it takes more than 64 bits. */
function exact(value: ByteString): bigint | undefined {
  const digits = value.replace(/^[+-]?0*/, '');
  if (digits.length > MAX_DIGITS) return undefined;
  const magnitude = BigInt(digits);
  const signed = value.startsWith('-') ? -magnitude : magnitude;
  return signed === BigInt.asIntN(64, signed) ? signed : undefined;
}

/** Offsets and lengths come in turns. */
function addSparse(list: ByteString[], key: ByteString, value: ByteString): void {
  const expected = list.length % 2 === 0 ? SPARSE.offset : SPARSE.length;
  if (key === expected && !value.includes(',')) {
    list.push(value);
    return;
  }
  throw new SiphonError(
    'corrupt',
    `Cannot read PAX record "${key}": it is "${printable(value.slice(0, 64))}", expected a number for "${expected}"`,
  );
}

/** Where the record at `offset` has its key, and where it ends. */
function recordAt(data: Buffer, offset: number): { start: number; end: number } {
  const first = data[offset] === PLUS ? offset + 1 : offset;
  let at = first;
  let length = 0;
  for (; isDigit(data[at]); at += 1) length = length * 10 + (data[at] ?? 0) - ZERO;
  const end = offset + length;
  // The least record is a blank, a key of one byte, "=" and the line's end.
  const isRecord = at > first && data[at] === BLANK && end >= at + 4 && data[end - 1] === NEWLINE;
  if (isRecord && end <= data.length) return { start: at + 1, end };
  const digits = data.toString('latin1', offset, Math.max(data.indexOf(BLANK, offset), offset));
  throw new SiphonError(
    'corrupt',
    `Cannot read PAX record at byte ${offset}: its length is "${printable(digits.slice(0, 64))}", expected one that ends at a line's end`,
  );
}

function isDigit(byte = 0): boolean {
  return byte >= ZERO && byte < ZERO + 10;
}

/** The record whose key begins at `start`, up to its line's end. */
function parseRecord(data: Buffer, start: number, end: number): [ByteString, ByteString] {
  const equals = Math.min(data.indexOf(EQUALS, start) >>> 0, end);
  const key = equals === end ? '' : data.toString('latin1', start, equals);
  const value = data.toString('latin1', equals + 1, end);
  if (key === '' || key.includes('\0') || (NAME_KEYS.has(key) && value.includes('\0'))) {
    const record = data.toString('latin1', start, Math.min(end, start + 64));
    throw new SiphonError(
      'corrupt',
      `Cannot read PAX record "${printable(record)}": expected "key=value" without NUL`,
    );
  }
  return [key, value];
}

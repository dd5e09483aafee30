/**
 * What is wrong with an index file, and the checks of single values that find it. Every value may be of any
 * kind: that a table is STRICT only says what SQLite lets in, and a file can be made by other means.
 */

import { inflateRawSync } from 'node:zlib';
import type { Digest } from '../common/digest.js';
import { SiphonError, errorMessage } from '../common/errors.js';
import { WINDOW_SIZE } from '../ffi/zlib.js';

/** What is wrong, said by one who does not know which file it is; see {@link damagedIndex}. */
export class IndexDamage extends Error {}

/** For messages. */
export function nameOfIndex(path: string, layer?: Digest): string {
  return layer === undefined ? `"${path}"` : `"${path}" of layer "${layer}"`;
}

/**
 * Whatever was thrown while an index was read, naming the file. What SQLite says about a file that we wrote once
 * is damage, too.
 * @param name as {@link nameOfIndex} gives it
 */
export function damagedIndex(name: string, error: unknown): SiphonError {
  if (error instanceof SiphonError) return error;
  const message = `Cannot read index ${name}: ${errorMessage(error)}`;
  return new SiphonError('corrupt', message, { cause: error });
}

/** @throws IndexDamage where `value` is no integer from `least` to `most`. `what` names it. */
export function integerOf(
  what: string,
  value: unknown,
  least = 0,
  most = Number.MAX_SAFE_INTEGER,
): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= least && value <= most)
    return value;
  throw new IndexDamage(`${what} is ${shown(value)}, expected an integer from ${least} to ${most}`);
}

/** @throws IndexDamage where `value` is not as many bytes */
export function bytesOf(what: string, value: unknown, least: number, most: number): Buffer {
  if (!Buffer.isBuffer(value)) throw new IndexDamage(`${what} is ${shown(value)}, expected bytes`);
  if (value.length >= least && value.length <= most) return value;
  throw new IndexDamage(`${what} has ${value.length} bytes, expected ${least} to ${most}`);
}

/** @throws IndexDamage */
export function textOf(what: string, value: unknown): string {
  if (typeof value === 'string') return value;
  throw new IndexDamage(`${what} is ${shown(value)}, expected text`);
}

/** Deflate makes nothing larger than this of a window. */
const MAX_PACKED_WINDOW = 2 * WINDOW_SIZE;

/** The window of a checkpoint, from its row. @throws IndexDamage */
export function unpackWindow(span: unknown, value: unknown): Buffer {
  const what = `the window of span ${shown(span)}`;
  const packed = bytesOf(what, value, 1, MAX_PACKED_WINDOW);
  try {
    return inflateRawSync(packed, { maxOutputLength: WINDOW_SIZE });
  } catch (error) {
    throw new IndexDamage(
      `${what} is damaged (${errorMessage(error)}), expected at most ${WINDOW_SIZE} bytes of raw deflate`,
    );
  }
}

const MAX_SHOWN = 64;

/** A value of a database, for messages. */
export function shown(value: unknown): string {
  if (Buffer.isBuffer(value)) return `${value.length} bytes`;
  return (JSON.stringify(value) ?? 'missing').slice(0, MAX_SHOWN);
}

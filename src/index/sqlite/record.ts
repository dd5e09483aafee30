/** A row as SQLite's files hold it: the type of each column, then the values (sqlite.org/fileformat2.html, "Record Format"). */

import type { ByteString } from '../tar-header.js';
import { copyBytes, writeVarint } from './bytes.js';

/** Types of values that are in the type itself. */
const NULL = 0;
const ZERO = 8;
const ONE = 9;
/** Types of integers by how many bytes they have. */
const INTEGER_OF_SIZE: Readonly<Record<number, number>> = { 1: 1, 2: 2, 3: 3, 4: 4, 6: 5, 8: 6 };
/** The least type of a blob; two more for each byte. */
const BLOB = 12;
const TWO_32 = 2 ** 32;
/** So few bytes of types that their number takes one byte itself. */
const MAX_TYPES = 126;

/** Puts one record after another together. */
export class RecordWriter {
  readonly #types = Buffer.alloc(MAX_TYPES);
  readonly #values: Buffer;
  #typesEnd = 0;
  #valuesEnd = 0;

  /** @param size bytes of the longest record, about */
  constructor(size: number) {
    this.#values = Buffer.alloc(size);
  }

  /** Bytes of the record as it is. */
  get length(): number {
    return 1 + this.#typesEnd + this.#valuesEnd;
  }

  /** Begins another one. */
  begin(): this {
    this.#typesEnd = 0;
    this.#valuesEnd = 0;
    return this;
  }

  null(): this {
    return this.#type(NULL);
  }

  /** @throws RangeError where it is no integer, or beyond 2^53 */
  integer(value: number): this {
    if (value === 0) return this.#type(ZERO);
    if (value === 1) return this.#type(ONE);
    if (!Number.isSafeInteger(value)) throw new RangeError(`Cannot store ${value} as an integer`);
    const size = sizeOf(value);
    if (size > 4) this.#writeBytes(Math.floor(value / TWO_32), size - 4);
    this.#writeBytes(value | 0, Math.min(size, 4));
    return this.#type(INTEGER_OF_SIZE[size] ?? NULL);
  }

  /** A blob of the bytes of `text`. @throws RangeError where the record becomes longer than it may */
  text(text: ByteString): this {
    const written = this.#values.write(text, this.#valuesEnd, 'latin1');
    if (written < text.length) throw new RangeError(`Cannot store ${text.length} bytes of text`);
    this.#valuesEnd += written;
    return this.#type(BLOB + 2 * text.length);
  }

  /** @throws RangeError where the record becomes longer than it may */
  blob(bytes: Uint8Array): this {
    this.#values.set(bytes, this.#valuesEnd);
    this.#valuesEnd += bytes.length;
    return this.#type(BLOB + 2 * bytes.length);
  }

  /** Copies the record to `at` of `target`. */
  copyTo(target: Buffer, at: number): void {
    target[at] = 1 + this.#typesEnd;
    copyBytes(this.#types, this.#typesEnd, target, at + 1);
    copyBytes(this.#values, this.#valuesEnd, target, at + 1 + this.#typesEnd);
  }

  #type(type: number): this {
    this.#typesEnd = writeVarint(this.#types, type, this.#typesEnd);
    return this;
  }

  /** The low `count` bytes of 32, from the highest down. */
  #writeBytes(value: number, count: number): void {
    for (let shift = 8 * (count - 1); shift >= 0; shift -= 8)
      this.#values[this.#valuesEnd++] = value >> shift;
  }
}

function sizeOf(value: number): number {
  const magnitude = value < 0 ? -1 - value : value;
  if (magnitude < 2 ** 7) return 1;
  if (magnitude < 2 ** 15) return 2;
  if (magnitude < 2 ** 23) return 3;
  if (magnitude < 2 ** 31) return 4;
  return magnitude < 2 ** 47 ? 6 : 8;
}

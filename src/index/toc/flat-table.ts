/**
 * Reads FlatBuffers (flatbuffers.dev, "FlatBuffer Internals") as far as zTOCs need it, with every offset
 * checked: a hostile buffer gives an error, never a byte from elsewhere. What may be read in all is a
 * multiple of what is there, since offsets may lead to the same bytes again and again.
 */

import { SiphonError } from '../../common/errors.js';

/** Bytes looked at for each byte of the buffer; an honest one has each read about once. */
const BUDGET_FACTOR = 16;
const UOFFSET = 4;
const VOFFSET = 2;

/** What all tables of one buffer share. */
interface Shared {
  bytes: Buffer;
  budget: number;
}

export class FlatTable {
  readonly #shared: Shared;
  readonly #at: number;
  readonly #vtable: number;
  readonly #vtableSize: number;

  /** The root table. @throws SiphonError `invalid` */
  static root(bytes: Buffer): FlatTable {
    const shared = { bytes, budget: bytes.length * BUDGET_FACTOR };
    return guarded(() => new FlatTable(shared, bytes.readUInt32LE(0)));
  }

  private constructor(shared: Shared, at: number) {
    this.#shared = shared;
    this.#at = at;
    this.#vtable = at - shared.bytes.readInt32LE(at);
    this.#vtableSize = shared.bytes.readUInt16LE(this.#vtable);
    this.#spend(this.#vtableSize + UOFFSET);
  }

  /** Fields are numbered in the order of the schema, from 0. Those that are missing have defaults. */
  uint8(field: number, missing = 0): number {
    return this.#read(field, missing, (at) => this.#shared.bytes.readUInt8(at));
  }

  int32(field: number): number {
    return this.#read(field, 0, (at) => this.#shared.bytes.readInt32LE(at));
  }

  uint32(field: number): number {
    return this.#read(field, 0, (at) => this.#shared.bytes.readUInt32LE(at));
  }

  /** @throws SiphonError `invalid` also where it is no safe integer */
  int64(field: number): number {
    const value = this.#read(field, 0, (at) => Number(this.#shared.bytes.readBigInt64LE(at)));
    if (!Number.isSafeInteger(value)) throw invalid(`it has the number ${value}`);
    return value;
  }

  /** A string or a vector of bytes, as it is; empty where it is missing. */
  bytes(field: number): Buffer {
    return this.#read(field, Buffer.alloc(0), (at) => this.#bytesAt(at));
  }

  table(field: number): FlatTable | undefined {
    return this.#read(field, undefined, (at) => this.#tableAt(at));
  }

  /** A vector of tables. */
  *tables(field: number): Generator<FlatTable> {
    for (const at of this.#elements(field)) yield guarded(() => this.#tableAt(at));
  }

  /** A vector of strings. */
  *strings(field: number): Generator<Buffer> {
    for (const at of this.#elements(field)) yield guarded(() => this.#bytesAt(at));
  }

  /** Where the elements of a vector of offsets lie. */
  *#elements(field: number): Generator<number> {
    const vector = this.#read(field, undefined, (at) => this.#follow(at));
    if (vector === undefined) return;
    const count = guarded(() => this.#shared.bytes.readUInt32LE(vector));
    for (let i = 0; i < count; i++) yield vector + UOFFSET + i * UOFFSET;
  }

  #read<T>(field: number, missing: T, read: (at: number) => T): T {
    return guarded(() => {
      const slot = VOFFSET * (2 + field);
      const offset =
        slot < this.#vtableSize ? this.#shared.bytes.readUInt16LE(this.#vtable + slot) : 0;
      return offset === 0 ? missing : read(this.#at + offset);
    });
  }

  #tableAt(at: number): FlatTable {
    return new FlatTable(this.#shared, this.#follow(at));
  }

  #bytesAt(at: number): Buffer {
    const { bytes } = this.#shared;
    const start = this.#follow(at) + UOFFSET;
    const length = bytes.readUInt32LE(start - UOFFSET);
    if (start + length > bytes.length) throw invalid('an offset leads out of it');
    this.#spend(length + UOFFSET);
    return bytes.subarray(start, start + length);
  }

  #follow(at: number): number {
    return at + this.#shared.bytes.readUInt32LE(at);
  }

  #spend(amount: number): void {
    this.#shared.budget -= amount;
    if (this.#shared.budget < 0) throw invalid('it repeats itself without end');
  }
}

/** Node's own bounds checks say the rest. */
function guarded<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof SiphonError) throw error;
    if (error instanceof RangeError) throw invalid('an offset leads out of it', error);
    throw error;
  }
}

function invalid(why: string, cause?: unknown): SiphonError {
  return new SiphonError(
    'invalid',
    `Cannot read zTOC: ${why}, expected a FlatBuffer of its schema`,
    { cause },
  );
}

/**
 * The part of zlib that Node's own module leaves out, by FFI from the running process (koffi): stopping
 * at deflate block boundaries, the sliding window, and starting in the middle of a byte. One
 * {@link Inflate} is one `z_stream`; input and output are Buffers that it refers to, not copies.
 */

import { koffi } from './koffi.js';

/** Return codes and flush values of zlib.h. */
export const Z = {
  OK: 0,
  STREAM_END: 1,
  NEED_DICT: 2,
  DATA_ERROR: -3,
  MEM_ERROR: -4,
  BUF_ERROR: -5,
  NO_FLUSH: 0,
  BLOCK: 5,
} as const;

/** `windowBits` of inflateInit2: bare deflate data, or with a gzip header and trailer. */
export const WINDOW_BITS = { raw: -15, gzip: 31 } as const;
export type InflateFormat = keyof typeof WINDOW_BITS;

/** Size of deflate's sliding window (RFC 1951). */
export const WINDOW_SIZE = 32768;

/** What an inflate call left behind, as `data_type` tells it. */
export interface BlockPosition {
  /** Unused low-order input bits of the last byte taken, 0 to 7. */
  bits: number;
  /** Whether the last block of the deflate data has begun. */
  last: boolean;
  /** Whether decoding stands between two blocks, or right after the header. */
  atBoundary: boolean;
}

// struct z_stream on 64-bit Linux (zlib.h): offsets of the members that are used.
const STREAM_SIZE = 112;
const NEXT_IN = 0;
const AVAIL_IN = 8;
const NEXT_OUT = 24;
const AVAIL_OUT = 32;
const MESSAGE = 48;
const DATA_TYPE = 88;
// zlib compares only the first character with its own.
const ZLIB_VERSION = '1.2.11';

const library = koffi.load(null);
const inflateInit2_ = library.func(
  'int inflateInit2_(void *stream, int bits, const char *version, int size)',
);
const inflate_ = library.func('int inflate(void *stream, int flush)');
const inflateEnd_ = library.func('int inflateEnd(void *stream)');
const inflateReset2_ = library.func('int inflateReset2(void *stream, int bits)');
const inflateValidate_ = library.func('int inflateValidate(void *stream, int check)');
const inflatePrime_ = library.func('int inflatePrime(void *stream, int bits, int value)');
const inflateGetDictionary_ = library.func(
  'int inflateGetDictionary(void *stream, void *dictionary, void *length)',
);
const inflateSetDictionary_ = library.func(
  'int inflateSetDictionary(void *stream, const void *dictionary, unsigned int length)',
);

/** A native inflate stream. Not usable after {@link close}; only one call may run at a time. */
export class Inflate implements Disposable {
  readonly #stream = Buffer.alloc(STREAM_SIZE);
  // Held so that the memory whose addresses zlib has stays alive.
  readonly #held: { input?: Uint8Array; output?: Uint8Array } = {};
  #open = false;

  /** @throws Error where zlib refuses, which means out of memory */
  constructor(format: InflateFormat) {
    check(
      'inflateInit2',
      inflateInit2_(this.#stream, WINDOW_BITS[format], ZLIB_VERSION, STREAM_SIZE),
    );
    this.#open = true;
  }

  /** Takes the bytes to read next; they must not change until they are used up. */
  setInput(bytes: Uint8Array): void {
    this.#held.input = bytes;
    this.#stream.writeBigUInt64LE(addressOf(bytes), NEXT_IN);
    this.#stream.writeUInt32LE(bytes.length, AVAIL_IN);
  }

  /** Takes the memory to write to next. */
  setOutput(bytes: Uint8Array): void {
    this.#held.output = bytes;
    this.#stream.writeBigUInt64LE(addressOf(bytes), NEXT_OUT);
    this.#stream.writeUInt32LE(bytes.length, AVAIL_OUT);
  }

  /** Bytes of the input not yet read. */
  get inputLeft(): number {
    return this.#stream.readUInt32LE(AVAIL_IN);
  }

  /** Bytes of the output not yet written. */
  get outputLeft(): number {
    return this.#stream.readUInt32LE(AVAIL_OUT);
  }

  get position(): BlockPosition {
    const type = this.#stream.readInt32LE(DATA_TYPE);
    return { bits: type & 7, last: (type & 64) !== 0, atBoundary: (type & 128) !== 0 };
  }

  /** Goes on until input or output is used up, or `flush` says to stop. Returns a code of {@link Z}. */
  run(flush: number): number {
    return inflate_(this.#stream, flush) as number;
  }

  /** As {@link run}, on a thread of libuv's pool. */
  runAsync(flush: number): Promise<number> {
    return new Promise((resolve, reject) => {
      inflate_.async(this.#stream, flush, (error: Error | null, code: number) => {
        if (error) reject(error);
        else resolve(code);
      });
    });
  }

  /** What zlib says about the last failure. */
  get message(): string {
    const message: unknown = koffi.decode(this.#stream, MESSAGE, 'const char *');
    return typeof message === 'string' ? message : 'no reason given';
  }

  /** Starts anew; the input and output taken stay. */
  reset(format: InflateFormat): void {
    check('inflateReset2', inflateReset2_(this.#stream, WINDOW_BITS[format]));
  }

  /** Leaves the checksums of gzip uncounted, until the next {@link reset}; saves a seventh of the time. */
  skipChecksums(): void {
    check('inflateValidate', inflateValidate_(this.#stream, 0));
  }

  /** Puts `bits` bits of `value` before the input: the rest of a byte that another span began. */
  prime(bits: number, value: number): void {
    check('inflatePrime', inflatePrime_(this.#stream, bits, value));
  }

  /** The last output, at most {@link WINDOW_SIZE} bytes: what later blocks can refer back to. */
  window(): Buffer {
    const window = Buffer.allocUnsafeSlow(WINDOW_SIZE);
    const length = Buffer.alloc(4);
    check('inflateGetDictionary', inflateGetDictionary_(this.#stream, window, length));
    return window.subarray(0, length.readUInt32LE(0));
  }

  /** The output that came before; for raw streams at a block boundary. */
  setWindow(window: Uint8Array): void {
    check('inflateSetDictionary', inflateSetDictionary_(this.#stream, window, window.length));
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    inflateEnd_(this.#stream);
    delete this.#held.input;
    delete this.#held.output;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function addressOf(bytes: Uint8Array): bigint {
  return koffi.address(bytes);
}

function check(name: string, code: unknown): void {
  if (code !== Z.OK) throw new Error(`zlib ${name} answered ${String(code)}, expected 0`);
}

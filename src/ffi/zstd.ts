/**
 * zstd decompression by FFI from libzstd.so.1, which Debian has wherever dpkg is: Node's own zlib module
 * has none before 22.15, and stops at no frame boundary after that. One {@link Unzstd} is one `ZSTD_DCtx`;
 * input and output are Buffers that it refers to, not copies.
 */

import { koffi } from './koffi.js';
import { SiphonError, errorMessage } from '../common/errors.js';

/**
 * Largest window that is taken into memory, as a power of two: 128 MiB. It is what `zstd` itself decompresses
 * without being told otherwise.
 */
const WINDOW_LOG_MAX = 27;

// zstd.h: values of ZSTD_dParameter, and members of struct ZSTD_inBuffer and ZSTD_outBuffer.
const ZSTD_d_windowLogMax = 100;
const BUFFER_SIZE = 24;
const SIZE = 8;
const POSITION = 16;
/** zstd_errors.h; part of the stable interface. */
const CODE = { prefix_unknown: 10, frameParameter_windowTooLarge: 16, memory_allocation: 64 };

/** Why zstd refuses to go on. */
export interface ZstdFailure {
  kind: 'no-frame' | 'window' | 'damaged';
  message: string;
}

/** Where a call stopped; it stops at the end of each frame. */
export type ZstdProgress = 'more' | 'frame-end' | ZstdFailure;

/** A native decompression stream. Not usable after {@link close}; only one call may run at a time. */
export class Unzstd implements Disposable {
  readonly #zstd = library();
  readonly #input = Buffer.alloc(BUFFER_SIZE);
  readonly #output = Buffer.alloc(BUFFER_SIZE);
  // Held so that the memory whose addresses zstd has stays alive.
  readonly #held: { input?: Uint8Array; output?: Uint8Array } = {};
  #context: unknown = undefined;

  /** @throws SiphonError `unsupported` where the library is missing */
  constructor() {
    this.#context = this.#zstd.createDCtx();
    if (this.#context === null) throw new Error('zstd gives no context, expected memory for one');
    this.#zstd.setParameter(this.#context, ZSTD_d_windowLogMax, WINDOW_LOG_MAX);
  }

  /** Takes the bytes to read next; they must not change until they are used up. */
  setInput(bytes: Uint8Array): void {
    this.#held.input = bytes;
    refer(this.#input, bytes);
  }

  /** Takes the memory to write to next. */
  setOutput(bytes: Uint8Array): void {
    this.#held.output = bytes;
    refer(this.#output, bytes);
  }

  /** Bytes of the input not yet read. */
  get inputLeft(): number {
    return left(this.#input);
  }

  /** Bytes of the output not yet written. */
  get outputLeft(): number {
    return left(this.#output);
  }

  /** Goes on until input or output is used up, or a frame ends whose output is all written. */
  run(): ZstdProgress {
    return this.#progress(
      // A `size_t`, which koffi gives as a bigint where a number does not hold it.
      this.#zstd.decompressStream(this.#context, this.#output, this.#input) as number | bigint,
    );
  }

  /** As {@link run}, on a thread of libuv's pool. */
  runAsync(): Promise<ZstdProgress> {
    return new Promise((resolve, reject) => {
      this.#zstd.decompressStream.async(
        this.#context,
        this.#output,
        this.#input,
        (error: Error | null, result: number | bigint) => {
          if (error) reject(error);
          else resolve(this.#progress(result));
        },
      );
    });
  }

  close(): void {
    if (this.#context === undefined) return;
    this.#zstd.freeDCtx(this.#context);
    this.#context = undefined;
    delete this.#held.input;
    delete this.#held.output;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #progress(result: number | bigint): ZstdProgress {
    if (this.#zstd.isError(result) === 0) return Number(result) === 0 ? 'frame-end' : 'more';
    const code = this.#zstd.getErrorCode(result) as number;
    const message = String(this.#zstd.getErrorName(result));
    if (code === CODE.memory_allocation) throw new Error(`zstd: ${message}`);
    return { kind: kindOf(code), message };
  }
}

function kindOf(code: number): ZstdFailure['kind'] {
  if (code === CODE.prefix_unknown) return 'no-frame';
  return code === CODE.frameParameter_windowTooLarge ? 'window' : 'damaged';
}

function refer(buffer: Buffer, bytes: Uint8Array): void {
  buffer.writeBigUInt64LE(koffi.address(bytes), 0);
  buffer.writeBigUInt64LE(BigInt(bytes.length), SIZE);
  buffer.writeBigUInt64LE(0n, POSITION);
}

function left(buffer: Buffer): number {
  return Number(buffer.readBigUInt64LE(SIZE) - buffer.readBigUInt64LE(POSITION));
}

let loaded: ReturnType<typeof load> | undefined;

function library(): ReturnType<typeof load> {
  loaded ??= load();
  return loaded;
}

function load() {
  const zstd = openLibrary();
  return {
    createDCtx: zstd.func('void *ZSTD_createDCtx()'),
    freeDCtx: zstd.func('size_t ZSTD_freeDCtx(void *context)'),
    setParameter: zstd.func('size_t ZSTD_DCtx_setParameter(void *context, int what, int value)'),
    decompressStream: zstd.func(
      'size_t ZSTD_decompressStream(void *context, void *output, void *input)',
    ),
    isError: zstd.func('unsigned int ZSTD_isError(size_t result)'),
    getErrorCode: zstd.func('int ZSTD_getErrorCode(size_t result)'),
    getErrorName: zstd.func('const char *ZSTD_getErrorName(size_t result)'),
  };
}

function openLibrary(): koffi.IKoffiLib {
  try {
    // Node 22 and later has a zstd of its own, whose functions the library would call in place of its own.
    return koffi.load('libzstd.so.1', { deep: true });
  } catch (error) {
    throw new SiphonError(
      'unsupported',
      `Cannot decompress zstd: libzstd.so.1 is not on this machine (${errorMessage(error)})`,
      { cause: error, hint: 'Install libzstd1 (Debian) or zstd (elsewhere).' },
    );
  }
}

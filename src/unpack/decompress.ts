/**
 * A layer blob as it streams by, turned into the bytes of its tar. While one piece of the tar is worked on,
 * the next one is inflated on a thread of libuv's pool, so that one layer keeps two processors busy.
 *
 * Pieces are valid until the next one is asked for, those of the input and those of the output.
 */

import { spawn } from 'node:child_process';
import { Duplex, Readable, pipeline } from 'node:stream';
import * as zlib from 'node:zlib';
import { SiphonError, errorMessage, systemCode } from '../common/errors.js';
import { Inflate, Z } from '../ffi/zlib.js';
import { SIGNATURE_SIZE, detectCompression } from '../index/compression.js';
import type { LayerCompression } from './unpack-model.js';

/** Inflated at a time; a round on another thread costs about as much as inflating a tenth of it. */
const OUTPUT_SIZE = 1 << 19;
const GZIP_MAGIC = 0x1f;
const ZSTD_MAGIC = 0xfd2fb528;
/** The first of the sixteen magic numbers of frames to skip, without their last four bits. */
const ZSTD_SKIPPABLE = 0x184d2a5;

type Pieces = AsyncIterable<Buffer>;

/**
 * Tells what the blob is, from its first bytes.
 * @throws SiphonError `unsupported` naming the format
 */
export async function decompress(
  input: AsyncIterator<Buffer>,
): Promise<{ compression: LayerCompression; tar: Pieces }> {
  let head = Buffer.alloc(0);
  while (head.length < SIGNATURE_SIZE) {
    const next = await input.next();
    if (next.done === true) break;
    head = Buffer.concat([head, next.value]);
  }
  const compression = isZstd(head) ? 'zstd' : detectCompression(head);
  const whole = withHead(head, input);
  switch (compression) {
    case 'none':
      return { compression, tar: whole };
    case 'gzip':
      return { compression, tar: gunzip(whole) };
    case 'zstd':
      return { compression, tar: zstd(whole) };
  }
}

async function* withHead(head: Buffer, input: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  if (head.length > 0) yield head;
  for (let next = await input.next(); next.done !== true; next = await input.next()) {
    yield next.value;
  }
}

function isZstd(head: Buffer): boolean {
  if (head.length < 4) return false;
  const magic = head.readUInt32LE(0);
  return magic === ZSTD_MAGIC || magic >>> 4 === ZSTD_SKIPPABLE;
}

async function* gunzip(input: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  const inflater = new Gunzip(input);
  let filling = inflater.fill(Buffer.allocUnsafeSlow(OUTPUT_SIZE));
  let spare: Buffer = Buffer.allocUnsafeSlow(OUTPUT_SIZE);
  try {
    for (;;) {
      const piece = await filling;
      if (piece.length === 0) return;
      filling = inflater.fill(spare);
      // Seen when it is awaited, which may be after the piece was worked on, or never.
      filling.catch(() => undefined);
      yield piece;
      spare = Buffer.from(piece.buffer);
    }
  } finally {
    await filling.catch(() => undefined);
    inflater.close();
  }
}

/** All members of a gzip file (RFC 1952, section 2.2) as one sequence of bytes. */
class Gunzip {
  readonly #input: AsyncGenerator<Buffer>;
  readonly #inflate = new Inflate('gzip');
  #place: 'start' | 'member' | 'between' | 'padding' = 'start';
  #chunk: Buffer = Buffer.alloc(0);
  /** Bytes of the blob up to the end of the present chunk. */
  #end = 0;

  constructor(input: AsyncGenerator<Buffer>) {
    this.#input = input;
  }

  /** The next bytes, written into `output`: all of it but at the end. */
  async fill(output: Buffer): Promise<Buffer> {
    this.#inflate.setOutput(output);
    while (this.#inflate.outputLeft > 0 && (await this.#hasInput())) {
      if (!this.#enterMember()) continue;
      const code = await this.#inflate.runAsync(Z.NO_FLUSH);
      if (code === Z.STREAM_END) this.#place = 'between';
      else if (code !== Z.OK && code !== Z.BUF_ERROR) throw this.#damaged();
    }
    return output.subarray(0, output.length - this.#inflate.outputLeft);
  }

  close(): void {
    this.#inflate.close();
  }

  async #hasInput(): Promise<boolean> {
    while (this.#inflate.inputLeft === 0) {
      const next = await this.#input.next();
      if (next.done === true) {
        if (this.#place === 'start' || this.#place === 'member') throw this.#cut();
        return false;
      }
      this.#chunk = next.value;
      this.#end += next.value.length;
      this.#inflate.setInput(next.value);
    }
    return true;
  }

  /** Whether there is a member to go on with; skips zeros after the last one. */
  #enterMember(): boolean {
    if (this.#place === 'start') this.#place = 'member';
    if (this.#place === 'member') return true;
    const rest = this.#chunk.subarray(this.#chunk.length - this.#inflate.inputLeft);
    if (this.#place === 'between' && rest[0] === GZIP_MAGIC) {
      this.#inflate.reset('gzip');
      this.#place = 'member';
      return true;
    }
    this.#place = 'padding';
    if (rest.some((byte) => byte !== 0)) throw this.#trailing();
    this.#inflate.setInput(Buffer.alloc(0));
    return false;
  }

  #damaged(): SiphonError {
    const at = this.#end - this.#inflate.inputLeft;
    return corrupt(`damaged gzip data near byte ${at} (${this.#inflate.message})`);
  }

  #cut(): SiphonError {
    return corrupt(`it ends at byte ${this.#end} in the middle of the gzip data, expected more`);
  }

  #trailing(): SiphonError {
    return corrupt(
      `bytes other than zeros follow the gzip data before byte ${this.#end}, expected nothing`,
    );
  }
}

/** By zlib where Node has it (22.15), else by the program. */
async function* zstd(input: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  const decoder = zstdDecoder();
  // The pieces are copied: a stream keeps what it is given for as long as it likes.
  const source = Readable.from(copies(input), { objectMode: false });
  pipeline(source, decoder.stream, () => undefined);
  try {
    for await (const piece of decoder.stream) yield piece as Buffer;
    await decoder.ended;
  } catch (error) {
    if (error instanceof SiphonError) throw error;
    await decoder.ended;
    throw corrupt(`damaged zstd data (${errorMessage(error)})`);
  } finally {
    source.destroy();
    decoder.stop();
  }
}

async function* copies(input: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  for await (const piece of input) yield Buffer.from(piece);
}

interface ZstdDecoder {
  stream: Duplex;
  ended: Promise<void>;
  stop(): void;
}

function zstdDecoder(): ZstdDecoder {
  const { createZstdDecompress } = zlib as { createZstdDecompress?: () => Duplex };
  if (createZstdDecompress === undefined) return zstdProgram();
  const stream = createZstdDecompress();
  return { stream, ended: Promise.resolve(), stop: () => stream.destroy() };
}

function zstdProgram(): ZstdDecoder {
  const child = spawn('zstd', ['--decompress', '--stdout', '--quiet']);
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
  const ended = new Promise<void>((resolve, reject) => {
    child.once('error', (error) =>
      reject(systemCode(error) === 'ENOENT' ? noZstd(error) : corrupt(errorMessage(error))),
    );
    child.once('close', (code) =>
      code === 0 ? resolve() : reject(corrupt(`damaged zstd data (${said.trim()})`)),
    );
  });
  ended.catch(() => undefined);
  const stream = Duplex.from({ writable: child.stdin, readable: child.stdout });
  return { stream, ended, stop: () => void child.kill() };
}

function noZstd(cause: unknown): SiphonError {
  return new SiphonError(
    'unsupported',
    'Cannot unpack layer: it is zstd, which this Node cannot decompress, and there is no program "zstd"',
    { cause, hint: 'Install zstd, or run siphon with Node 22.15 or newer.' },
  );
}

function corrupt(what: string): SiphonError {
  return new SiphonError('corrupt', `Cannot unpack layer: ${what}`);
}

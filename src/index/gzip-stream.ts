/** All members of a gzip file (RFC 1952, section 2.2) as one sequence of bytes, from any checkpoint on. */

import { SiphonError } from '../common/errors.js';
import { Inflate, type InflateFormat, Z } from '../ffi/zlib.js';
import type { EntryPoint, PieceSource, StreamDecoder } from './decoder-model.js';

/** First byte of a member's header. No deflate data begins with it: it would be a block of type 3. */
const GZIP_MAGIC = 0x1f;
/** CRC32 and length that end a member. */
const TRAILER_SIZE = 8;

type Place =
  | { kind: 'start' }
  /** Without its header the trailer is left for us. */
  | { kind: 'member'; format: InflateFormat }
  | { kind: 'trailer'; left: number }
  | { kind: 'between' }
  /** Zeros that somebody's tape block was filled with. */
  | { kind: 'padding' };

export class GzipStream implements StreamDecoder {
  readonly #next: PieceSource;
  readonly #entry: EntryPoint;
  readonly #inflate = new Inflate('raw');
  #place: Place = { kind: 'start' };
  #piece: Buffer = Buffer.alloc(0);
  /** Bytes taken up to the end of the present piece. */
  #end = 0;

  constructor(next: PieceSource, entry: EntryPoint) {
    this.#next = next;
    this.#entry = entry;
  }

  async fill(output: Buffer): Promise<number> {
    this.#inflate.setOutput(output);
    for (;;) {
      // zlib may hold output back, so a member is asked also where there is no input.
      if (this.#place.kind === 'member') await this.#run(this.#place.format);
      if (this.#inflate.outputLeft === 0) break;
      if (this.#inflate.inputLeft === 0 && !(await this.#take())) break;
      this.#enter();
    }
    return output.length - this.#inflate.outputLeft;
  }

  [Symbol.dispose](): void {
    this.#inflate.close();
  }

  async #run(format: InflateFormat): Promise<void> {
    const code = await this.#inflate.runAsync(Z.NO_FLUSH);
    if (code === Z.STREAM_END)
      this.#place =
        format === 'raw' ? { kind: 'trailer', left: TRAILER_SIZE } : { kind: 'between' };
    else if (code !== Z.OK && code !== Z.BUF_ERROR)
      throw corrupt(`damaged gzip data near byte ${this.#at()} (${this.#inflate.message})`);
  }

  /** Gets the next piece; false at the end. */
  async #take(): Promise<boolean> {
    for (;;) {
      const piece = await this.#next();
      if (piece === undefined) {
        this.#checkEnd();
        return false;
      }
      if (piece.length === 0) continue;
      this.#piece = piece;
      this.#end += piece.length;
      this.#inflate.setInput(piece);
      return true;
    }
  }

  /** Goes from what is between members to the next one, as far as the input allows. */
  #enter(): void {
    const rest = this.#piece.subarray(this.#piece.length - this.#inflate.inputLeft);
    if (this.#place.kind === 'start') this.#start(rest);
    else if (this.#place.kind === 'trailer') this.#skipTrailer(this.#place.left, rest);
    else if (this.#place.kind === 'between' && rest[0] === GZIP_MAGIC) this.#enterMember('gzip');
    else if (this.#place.kind !== 'member') this.#skipPadding(rest);
  }

  #start(rest: Buffer): void {
    const { bits, window } = this.#entry;
    this.#enterMember(bits === 0 && rest[0] === GZIP_MAGIC ? 'gzip' : 'raw');
    if (bits > 0) {
      this.#inflate.prime(bits, (rest[0] ?? 0) >> (8 - bits));
      this.#inflate.setInput(rest.subarray(1));
    }
    if (window !== undefined) this.#inflate.setWindow(window);
  }

  #enterMember(format: InflateFormat): void {
    this.#inflate.reset(format);
    this.#place = { kind: 'member', format };
  }

  #skipTrailer(left: number, rest: Buffer): void {
    const skipped = Math.min(left, rest.length);
    this.#inflate.setInput(rest.subarray(skipped));
    this.#place =
      skipped === left ? { kind: 'between' } : { kind: 'trailer', left: left - skipped };
  }

  #skipPadding(rest: Buffer): void {
    this.#place = { kind: 'padding' };
    if (rest.some((byte) => byte !== 0))
      throw corrupt(
        `bytes other than zeros follow the gzip data before byte ${this.#end}, expected nothing`,
      );
    this.#inflate.setInput(Buffer.alloc(0));
  }

  #checkEnd(): void {
    const { kind } = this.#place;
    if (kind === 'between' || kind === 'padding') return;
    throw corrupt(`it ends at byte ${this.#end} in the middle of the gzip data, expected more`);
  }

  #at(): number {
    return this.#end - this.#inflate.inputLeft;
  }
}

function corrupt(what: string): SiphonError {
  return new SiphonError('corrupt', `Cannot decompress layer: ${what}`);
}

/** All frames of a zstd file (RFC 8878) as one sequence of bytes, from the start of any frame on. */

import { type ZstdFailure, Unzstd } from '../ffi/zstd.js';
import { SiphonError } from '../common/errors.js';
import type { PieceSource, StreamDecoder } from './decoder-model.js';

export class ZstdStream implements StreamDecoder {
  readonly #next: PieceSource;
  readonly #unzstd = new Unzstd();
  #inFrame = true;
  /** Bytes taken up to the end of the present piece. */
  #end = 0;

  constructor(next: PieceSource) {
    this.#next = next;
  }

  async fill(output: Buffer): Promise<number> {
    this.#unzstd.setOutput(output);
    while (this.#unzstd.outputLeft > 0) {
      // zstd may hold output back, so a frame is asked also where there is no input.
      const before = this.#unzstd.outputLeft;
      if (this.#inFrame) await this.#run();
      const isStuck = this.#unzstd.outputLeft === before || !this.#inFrame;
      if (isStuck && this.#unzstd.inputLeft === 0 && !(await this.#take())) break;
    }
    return output.length - this.#unzstd.outputLeft;
  }

  [Symbol.dispose](): void {
    this.#unzstd.close();
  }

  async #run(): Promise<void> {
    const progress = await this.#unzstd.runAsync();
    if (progress === 'frame-end') this.#inFrame = this.#unzstd.inputLeft > 0;
    else if (progress !== 'more') throw zstdError(progress, this.#end - this.#unzstd.inputLeft);
  }

  /** Gets the next piece; false at the end. */
  async #take(): Promise<boolean> {
    for (;;) {
      const piece = await this.#next();
      if (piece === undefined) {
        if (this.#inFrame) throw zstdCut(this.#end);
        return false;
      }
      if (piece.length === 0) continue;
      this.#end += piece.length;
      this.#unzstd.setInput(piece);
      this.#inFrame = true;
      return true;
    }
  }
}

/** What is wrong near byte `at`. */
export function zstdError({ kind, message }: ZstdFailure, at: number): SiphonError {
  switch (kind) {
    case 'no-frame':
      return corrupt(`no zstd frame begins near byte ${at}, expected one or the end`);
    case 'window':
      return new SiphonError(
        'unsupported',
        `Cannot decompress layer: decoding its zstd data takes a window of more than 128 MiB, expected at most that`,
      );
    case 'damaged':
      return corrupt(`damaged zstd data near byte ${at} (${message})`);
  }
}

export function zstdCut(at: number): SiphonError {
  return corrupt(`it ends at byte ${at} in the middle of the zstd data, expected more`);
}

function corrupt(what: string): SiphonError {
  return new SiphonError('corrupt', `Cannot decompress layer: ${what}`);
}

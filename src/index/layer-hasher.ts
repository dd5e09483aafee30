/**
 * The digests of a layer while it streams by: of the blob, of the tar, and of each span. Hashing takes
 * about as long as inflating, so for a large layer it runs on a thread of its own ({@link HashThread});
 * for a small one it is done at once, which saves the thread.
 */

import { type Hash, createHash } from 'node:crypto';

export interface LayerDigests {
  /** Raw sha256 of the whole blob and of the whole tar. */
  blob: Buffer;
  tar: Buffer;
  /** Raw sha256 of each span's bytes of the tar, in order. */
  spans: Buffer[];
}

/** Which hash some bytes go to; those of the tar go to the present span's too. */
export type HashTarget = 'blob' | 'tar';

export interface LayerHasher {
  /** Memory for output, hashed from there; the one given before may be hashed yet, those before that are free. */
  nextOutput(): Buffer;
  /** Takes the next bytes of the blob or the tar; they must not change before {@link LayerHasher.settle}. */
  update(target: HashTarget, bytes: Buffer): void;
  /** The bytes of the tar from here on are the next span's. */
  endSpan(): void;
  /** What was taken so far, for {@link LayerHasher.settle}. */
  readonly mark: number;
  /** Returns once all that was taken before `mark` is hashed. */
  settle(mark: number): void;
  /** Ends the last span and everything. */
  finish(): LayerDigests;
  close(): void;
}

/** Output is handed on in pieces of this size, which stay in the processor's cache. */
export const OUTPUT_SIZE = 256 * 1024;

/** Hashes in the calling thread. */
export class DirectHasher implements LayerHasher {
  readonly #output = Buffer.allocUnsafeSlow(OUTPUT_SIZE);
  readonly #sums = new RunningDigests();
  readonly mark = 0;

  nextOutput(): Buffer {
    return this.#output;
  }

  update(target: HashTarget, bytes: Buffer): void {
    this.#sums.update(target, bytes);
  }

  endSpan(): void {
    this.#sums.endSpan();
  }

  settle(): void {
    // Nothing is ever left to do.
  }

  finish(): LayerDigests {
    return this.#sums.finish();
  }

  close(): void {
    // Holds nothing.
  }
}

/** The hashing itself, on whichever thread. */
export class RunningDigests {
  readonly #blob = createHash('sha256');
  readonly #tar = createHash('sha256');
  readonly #spans: Buffer[] = [];
  #span: Hash | undefined;

  update(target: HashTarget, bytes: Uint8Array): void {
    if (target === 'blob') {
      this.#blob.update(bytes);
      return;
    }
    this.#tar.update(bytes);
    this.#span ??= createHash('sha256');
    this.#span.update(bytes);
  }

  endSpan(): void {
    if (this.#span !== undefined) this.#spans.push(this.#span.digest());
    this.#span = undefined;
  }

  finish(): LayerDigests {
    this.endSpan();
    return { blob: this.#blob.digest(), tar: this.#tar.digest(), spans: this.#spans };
  }
}

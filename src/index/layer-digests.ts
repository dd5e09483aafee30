/** The digests of a layer while it streams by: of the blob, of the tar, and of each span. */

import { type Hash, createHash } from 'node:crypto';

export interface LayerDigests {
  /** Raw sha256 of the whole blob and of the whole tar. */
  blob: Buffer;
  tar: Buffer;
  /** Raw sha256 of each span's bytes of the tar, in order. */
  spans: Buffer[];
}

export class RunningDigests {
  readonly #blob = createHash('sha256');
  readonly #tar = createHash('sha256');
  readonly #spans: Buffer[] = [];
  #span: Hash | undefined;

  updateBlob(bytes: Uint8Array): void {
    this.#blob.update(bytes);
  }

  updateTar(bytes: Uint8Array): void {
    this.#tar.update(bytes);
    this.#span ??= createHash('sha256');
    this.#span.update(bytes);
  }

  /** The bytes of the tar from here on are the next span's. */
  endSpan(): void {
    if (this.#span !== undefined) this.#spans.push(this.#span.digest());
    this.#span = undefined;
  }

  /** Ends the last span and everything. */
  finish(): LayerDigests {
    this.endSpan();
    return { blob: this.#blob.digest(), tar: this.#tar.digest(), spans: this.#spans };
  }
}

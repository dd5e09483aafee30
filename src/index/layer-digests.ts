/** The digests of a layer while it streams by: of the blob, of the tar, and of each span. */

import { createHash } from 'node:crypto';
import { sha256Pair } from '../ffi/sha256-pair.js';

export interface LayerDigests {
  /** Raw sha256 of the whole blob and of the whole tar. */
  blob: Buffer;
  tar: Buffer;
  /** Raw sha256 of each span's bytes of the tar, in order. */
  spans: Buffer[];
}

export class RunningDigests {
  readonly #blob = createHash('sha256');
  #tar: TarDigests | undefined;
  readonly #spans: Buffer[] = [];
  #hasSpan = false;

  updateBlob(bytes: Uint8Array): void {
    this.#blob.update(bytes);
  }

  /** Lets `digests` take the bytes of the tar, none of which have come. */
  computeTarBy(digests: TarDigests): void {
    this.#tar = digests;
  }

  updateTar(bytes: Uint8Array): void {
    this.#tarDigests.update(bytes);
    this.#hasSpan = true;
  }

  /** The bytes of the tar from here on are the next span's. */
  endSpan(): void {
    if (this.#hasSpan) this.#spans.push(this.#tarDigests.takeSpan());
    this.#hasSpan = false;
  }

  /** Ends the last span and everything. */
  finish(): LayerDigests {
    this.endSpan();
    return { blob: this.#blob.digest(), tar: this.#tarDigests.takeWhole(), spans: this.#spans };
  }

  get #tarDigests(): TarDigests {
    return (this.#tar ??= tarDigests());
  }
}

/** Of a tar and its present span. */
export interface TarDigests {
  update(bytes: Uint8Array): void;
  /** Ends the span and begins another one. */
  takeSpan(): Buffer;
  takeWhole(): Buffer;
}

/** The same bytes go into two digests, which take little longer than one where the processor allows it. */
function tarDigests(): TarDigests {
  const pair = sha256Pair();
  if (pair === undefined) return digestsInTurn();
  pair.begin();
  return {
    update: (bytes) => pair.update(bytes),
    takeSpan: () => pair.take(1),
    takeWhole: () => pair.take(0),
  };
}

function digestsInTurn(): TarDigests {
  const whole = createHash('sha256');
  let span = createHash('sha256');
  return {
    update(bytes) {
      whole.update(bytes);
      span.update(bytes);
    },
    takeSpan() {
      const digest = span.digest();
      span = createHash('sha256');
      return digest;
    },
    takeWhole: () => whole.digest(),
  };
}

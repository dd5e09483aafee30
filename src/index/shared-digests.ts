/**
 * The digests of a tar and its spans, computed by the thread that decodes it and by the one that takes what is decoded,
 * whichever has time: the taker sees to it that what it is done with is hashed, and the decoder, before it
 * waits for room, hashes what the taker has not come to. Both follow the ring of the decoder's records; the state of the
 * digests is in memory that they share, and belongs to one of them at a time.
 */

import { SHA256_PAIR_BYTES, type Sha256Pair, sha256Pair } from '../ffi/sha256-pair.js';
import { type DigestMemory, EVENT } from './decoder-protocol.js';
import type { TarDigests } from './layer-digests.js';
import { CAPACITY, CHECK_INTERVAL, type RingRecord, type ThreadRing } from './thread-ring.js';

const TAR = 0;
const SPAN = 1;

const DIGEST_SIZE = 32;
/** A digest for each record of the ring, which may end a span; then the words. */
const SLOTS_SIZE = CAPACITY * DIGEST_SIZE;
/** Number of the record that is hashed next. */
const NEXT = 0;
const LOCK = 1;
const WORDS = 2;

/** `undefined` where the state cannot be shared. */
export function digestMemory(): DigestMemory | undefined {
  if (sha256Pair() === undefined) return undefined;
  return {
    pair: new SharedArrayBuffer(SHA256_PAIR_BYTES),
    progress: new SharedArrayBuffer(SLOTS_SIZE + WORDS * Int32Array.BYTES_PER_ELEMENT),
  };
}

/** One thread's view of the digests of one layer. */
export class SharedDigests {
  readonly #pair: Sha256Pair;
  readonly #slots: Buffer;
  readonly #words: Int32Array;
  readonly #ring: ThreadRing;
  readonly #arena: SharedArrayBuffer;

  /** @param arena of the layer, which the records of `ring` speak of */
  constructor({ pair, progress }: DigestMemory, ring: ThreadRing, arena: SharedArrayBuffer) {
    const shared = sha256Pair(pair);
    if (shared === undefined) throw new Error('Digests cannot be shared here');
    this.#pair = shared;
    this.#slots = Buffer.from(progress, 0, SLOTS_SIZE);
    this.#words = new Int32Array(progress, SLOTS_SIZE, WORDS);
    this.#ring = ring;
    this.#arena = arena;
  }

  /** Begins with the next record; before the other thread does anything. */
  begin(): void {
    this.#pair.begin();
    Atomics.store(this.#words, NEXT, this.#ring.written);
    Atomics.store(this.#words, LOCK, 0);
  }

  /**
   * Hashes what is left up to record `number`.
   * @param checkOther is called while the other thread is at it for long, and throws where it is gone
   */
  hashUpTo(number: number, checkOther: () => void): void {
    while (this.#isBehind(number)) {
      if (this.#tryLock()) this.#hashNext(number);
      else if (Atomics.wait(this.#words, LOCK, 1, CHECK_INTERVAL) === 'timed-out') checkOther();
    }
  }

  /** Hashes one record before `end`; false where none is left, or the other thread is at it. */
  help(end: number): boolean {
    if (!this.#isBehind((end - 1) | 0) || !this.#tryLock()) return false;
    this.#hashNext((end - 1) | 0);
    return true;
  }

  /** The digest of the span that record `number` ended. */
  spanEndedBy(number: number): Buffer {
    return Buffer.from(this.#slotOf(number));
  }

  /** To be called once all is hashed. */
  takeSpan(): Buffer {
    return this.#pair.take(SPAN);
  }

  /** To be called once all is hashed. */
  takeWhole(): Buffer {
    return this.#pair.take(TAR);
  }

  #isBehind(number: number): boolean {
    return ((number - Atomics.load(this.#words, NEXT)) | 0) >= 0;
  }

  #tryLock(): boolean {
    return Atomics.compareExchange(this.#words, LOCK, 0, 1) === 0;
  }

  /** Hashes one record, where the other thread has not got as far as `last` by now; gives the state away. */
  #hashNext(last: number): void {
    try {
      if (!this.#isBehind(last)) return;
      const number = Atomics.load(this.#words, NEXT);
      this.#follow(number, this.#ring.record(number));
      Atomics.store(this.#words, NEXT, (number + 1) | 0);
    } finally {
      Atomics.store(this.#words, LOCK, 0);
      Atomics.notify(this.#words, LOCK);
    }
  }

  #follow(number: number, [what, offset, length]: RingRecord): void {
    if (what === EVENT.output) this.#pair.update(Buffer.from(this.#arena, offset, length));
    else if (what === EVENT.checkpoint || what === EVENT.split) this.#endSpan(number);
  }

  #endSpan(number: number): void {
    if (this.#pair.length(SPAN) > 0) this.#slotOf(number).set(this.#pair.take(SPAN));
  }

  #slotOf(number: number): Buffer {
    const at = ((number >>> 0) % CAPACITY) * DIGEST_SIZE;
    return this.#slots.subarray(at, at + DIGEST_SIZE);
  }
}

/** {@link SharedDigests} as the taker of the records goes through them. */
export class FollowedDigests implements TarDigests {
  readonly #shared: SharedDigests;
  readonly #checkOther: () => void;
  #hasSpan = false;
  #span: Buffer | undefined;

  constructor(shared: SharedDigests, checkOther: () => void) {
    this.#shared = shared;
    this.#checkOther = checkOther;
    shared.begin();
  }

  /** Is to be called for each record, before it is counted as done. */
  follow(number: number, [what]: RingRecord): void {
    this.#shared.hashUpTo(number, this.#checkOther);
    if (what === EVENT.output) this.#hasSpan = true;
    if ((what !== EVENT.checkpoint && what !== EVENT.split) || !this.#hasSpan) return;
    this.#span = this.#shared.spanEndedBy(number);
    this.#hasSpan = false;
  }

  /** Nothing is left to do: {@link follow} is called of what the bytes come from. */
  update(): void {
    this.#span = undefined;
  }

  takeSpan(): Buffer {
    return this.#span ?? this.#shared.takeSpan();
  }

  takeWhole(): Buffer {
    return this.#shared.takeWhole();
  }
}

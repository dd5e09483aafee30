/**
 * What {@link HashThread} and its worker share: memory for the bytes to hash, and a ring of orders with
 * two counters. The one side writes an order and counts up; the other hashes and counts up; each sleeps
 * while it has nothing to do or no room. Counters wrap around at 2^32.
 */

import type { MessagePort } from 'node:worker_threads';

/** `workerData` of the worker. */
export interface HashJob {
  /** All bytes to hash lie in here. */
  arena: SharedArrayBuffer;
  queue: SharedArrayBuffer;
  /** Where the {@link LayerDigests} go in the end. */
  results: MessagePort;
}

export const ORDER = { blob: 0, tar: 1, endSpan: 2, finish: 3 } as const;

/** Orders under way; far more than the arena has pieces. */
const CAPACITY = 1024;
/** Words of an order: what, and where in the arena. */
const ORDER_WORDS = 3;
const COUNTERS = 2;
const WRITTEN = 0;
const DONE = 1;

/** More than any machine needs for the few MiB that can be under way. */
const PATIENCE_MS = 60_000;

export const QUEUE_BYTES = (COUNTERS + CAPACITY * ORDER_WORDS) * Int32Array.BYTES_PER_ELEMENT;

export interface Order {
  what: number;
  offset: number;
  length: number;
}

/** One side of the ring. */
export class HashQueue {
  readonly #words: Int32Array;

  constructor(memory: SharedArrayBuffer) {
    this.#words = new Int32Array(memory);
  }

  /** How many orders were ever written. */
  get written(): number {
    return Atomics.load(this.#words, WRITTEN);
  }

  /** Waits for room. @throws Error where the other side has stopped */
  write({ what, offset, length }: Order): void {
    const number = this.written;
    this.waitUntilDone((number - CAPACITY + 1) | 0);
    this.#words.set([what, offset, length], slotOf(number));
    this.#countUp(WRITTEN, number);
  }

  /** Returns once the orders before `number` are done. @throws Error where the other side has stopped */
  waitUntilDone(number: number): void {
    for (;;) {
      const done = Atomics.load(this.#words, DONE);
      if (((done - number) | 0) >= 0) return;
      if (Atomics.wait(this.#words, DONE, done, PATIENCE_MS) === 'timed-out')
        throw new Error(`The hash thread did nothing for ${PATIENCE_MS} ms`);
    }
  }

  /** Takes the next order, however long it takes to come, and counts it when `perform` returns. */
  takeNext(perform: (order: Order) => void): void {
    const number = Atomics.load(this.#words, DONE);
    // A notification may come late, when what it tells of is done already.
    while (this.written === number) Atomics.wait(this.#words, WRITTEN, number);
    const [what = 0, offset = 0, length = 0] = this.#words.subarray(slotOf(number));
    perform({ what, offset, length });
    this.#countUp(DONE, number);
  }

  #countUp(counter: number, from: number): void {
    Atomics.store(this.#words, counter, (from + 1) | 0);
    Atomics.notify(this.#words, counter);
  }
}

function slotOf(number: number): number {
  return COUNTERS + ((number >>> 0) % CAPACITY) * ORDER_WORDS;
}

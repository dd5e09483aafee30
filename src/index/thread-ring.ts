/**
 * A ring of records in memory that two threads share, with two counters. The one side writes a record and counts
 * up; the other does what it says and counts up; each sleeps while it has nothing to do or no room. Counters wrap
 * around at 2^32.
 */

/** Numbers of a record; those that it lacks are 0. */
const FIELDS = 7;
/** Records that are written and not done, at most. */
export const CAPACITY = 256;

/** Words before the records, an even number. */
const HEADER = 4;
const WRITTEN = 0;
const DONE = 1;
const STOPPED = 2;

export const RING_BYTES =
  HEADER * Int32Array.BYTES_PER_ELEMENT + CAPACITY * FIELDS * Float64Array.BYTES_PER_ELEMENT;

/** Milliseconds between two looks at the other thread. */
export const CHECK_INTERVAL = 500;

export type RingRecord = readonly number[];

/** Thrown to whoever waits at a ring, or comes to it, once it is stopped. */
export class RingStopped extends Error {}

/** One side of the ring. */
export class ThreadRing {
  readonly #counters: Int32Array;
  readonly #records: Float64Array;

  /** @param memory of {@link RING_BYTES} */
  constructor(memory: SharedArrayBuffer) {
    this.#counters = new Int32Array(memory, 0, HEADER);
    this.#records = new Float64Array(memory, HEADER * Int32Array.BYTES_PER_ELEMENT);
  }

  /** How many records were ever written. */
  get written(): number {
    return Atomics.load(this.#counters, WRITTEN);
  }

  /** Waits for room, however long it takes. @throws RingStopped */
  write(record: RingRecord): void {
    const number = this.written;
    this.waitUntilDone((number - CAPACITY + 1) | 0);
    const at = slotOf(number);
    for (let field = 0; field < FIELDS; field++) this.#records[at + field] = record[field] ?? 0;
    this.#countUp(WRITTEN, number);
  }

  /** Whether the records before `number` are done. */
  isDone(number: number): boolean {
    return ((Atomics.load(this.#counters, DONE) - number) | 0) >= 0;
  }

  /** Returns once the records before `number` are done. @throws RingStopped */
  waitUntilDone(number: number): void {
    for (;;) {
      const done = Atomics.load(this.#counters, DONE);
      this.#checkGoing();
      if (((done - number) | 0) >= 0) return;
      this.#wait(DONE, done);
    }
  }

  /** The record of that number, which is written and not done. */
  record(number: number): RingRecord {
    const at = slotOf(number);
    return [...this.#records.subarray(at, at + FIELDS)];
  }

  /**
   * Waits for the next record, however long it takes, and counts it as done when `perform` returns.
   * @param checkOther is called while nothing comes, and throws where nothing will, since the other thread is gone
   * @throws RingStopped; what `checkOther` and `perform` throw
   */
  takeNext(perform: (record: RingRecord, number: number) => void, checkOther?: () => void): void {
    const number = Atomics.load(this.#counters, DONE);
    // A notification may come late, when what it tells of is done already.
    while (this.written === number) {
      const comes = this.#wait(WRITTEN, number, checkOther && CHECK_INTERVAL);
      // One may have come with the other thread's last breath.
      if (!comes && this.written === number) checkOther?.();
    }
    this.#checkGoing();
    perform(this.record(number), number);
    this.#countUp(DONE, number);
  }

  /** Lets the other side wait no more, nor begin with another record; for the side that is at rest. */
  stop(): void {
    Atomics.store(this.#counters, STOPPED, 1);
    // One who looked at the flag just before is about to sleep on a number that is another by then.
    for (const counter of [WRITTEN, DONE]) {
      Atomics.add(this.#counters, counter, CAPACITY);
      Atomics.notify(this.#counters, counter);
    }
  }

  /** Whether anything happened in that many milliseconds. */
  #wait(counter: number, value: number, milliseconds = Number.POSITIVE_INFINITY): boolean {
    return Atomics.wait(this.#counters, counter, value, milliseconds) !== 'timed-out';
  }

  #checkGoing(): void {
    if (Atomics.load(this.#counters, STOPPED) === 1) throw new RingStopped();
  }

  #countUp(counter: number, from: number): void {
    Atomics.store(this.#counters, counter, (from + 1) | 0);
    Atomics.notify(this.#counters, counter);
  }
}

function slotOf(number: number): number {
  return ((number >>> 0) % CAPACITY) * FIELDS;
}

/**
 * Notices who reads a layer on and on, by the spans that turn out to be missing, and says what to fetch before it is
 * asked for. Programs read here a little and there a little as they start, so what is fetched ahead is what it is worth:
 * where a read goes on where another ended, as much as comes in the time of one more request; where several reads leave
 * little out, that, and a request's worth. Reads here and there fetch nothing ahead. Only who has read so much in order as no
 * program does that merely starts finds all on its way that a fast link may hold.
 */

import type { SpanRange } from './layer-model.js';

/** Bytes read in order from which on nobody merely starts. */
const STREAMED = 3 << 20;
/** What comes in a round trip of 100 ms at 1.3 Gbit/s. */
const STREAM_WINDOW = 16 << 20;
/** The most that a request is taken to be worth, however slow requests seem. */
const MAX_WORTH = 2 << 20;
/** How much is fetched ahead of who begins to read in order, in requests' worth. */
const REQUESTS_AHEAD = 1;
/** How much reads of one sequence may leave out, in requests' worth. */
const REACH = 2;
/** The step of a sequence from which on what reads leave out comes with them: two may be near by chance. */
const FIRST_SURE_STEP = 2;
/** Sequences that are followed at a time; the one that rests longest is dropped. */
const MAX_SEQUENCES = 8;
/** How far back, in spans, the kernel's reads may come out of order. */
const DISORDER = 2;

interface Sequence {
  /** Where it began in the blob, or left something out last. */
  start: number;
  /** The last span that was wanted, and the last that is fetched or on its way. */
  at: number;
  ahead: number;
  /** Reads after the first. */
  steps: number;
}

/** Where spans lie in the blob. */
export interface SpanPlaces {
  count: number;
  startOf: (span: number) => number;
  endOf: (span: number) => number;
}

export class ReadAhead {
  readonly #spans: SpanPlaces;
  /** The latest first. */
  readonly #sequences: Sequence[] = [];

  constructor(spans: SpanPlaces) {
    this.#spans = spans;
  }

  /**
   * Takes note that spans `first` to `last` are wanted and not here.
   * @param requestCost bytes that come in the time that one more request takes
   * @returns what to fetch besides; where it begins before them, those wanted are in it
   */
  next(wanted: SpanRange, requestCost: number): SpanRange | undefined {
    const worth = Math.min(requestCost, MAX_WORTH);
    const sequence = this.#follow(wanted, worth * REACH);
    if (sequence === undefined || wanted.last <= sequence.at) return undefined;
    const { ahead } = sequence;
    sequence.steps += 1;
    sequence.at = wanted.last;
    sequence.ahead = Math.max(ahead, wanted.last);
    return wanted.first <= ahead + 1
      ? this.#goOn(sequence, wanted, worth * REQUESTS_AHEAD)
      : this.#leaveOut(sequence, { first: ahead + 1, last: wanted.first - 1 }, worth);
  }

  /** The sequence that these go on with; `undefined` where they begin one. */
  #follow({ first, last }: SpanRange, reach: number): Sequence | undefined {
    const { startOf, endOf } = this.#spans;
    const known = this.#sequences.findIndex(({ at, ahead }) => {
      const isNear = first <= ahead + 1 || startOf(first) - endOf(ahead) <= reach;
      return isNear && first >= at - DISORDER;
    });
    const [sequence] = known < 0 ? [] : this.#sequences.splice(known, 1);
    const begun = { start: startOf(first), at: last, ahead: last, steps: 0 };
    this.#sequences.unshift(sequence ?? begun);
    this.#sequences.length = Math.min(this.#sequences.length, MAX_SEQUENCES);
    return sequence;
  }

  #goOn(sequence: Sequence, { first }: SpanRange, atFirst: number): SpanRange | undefined {
    const from = sequence.ahead + 1;
    const inOrder = this.#spans.startOf(first) - sequence.start;
    this.#extend(sequence, inOrder < STREAMED ? atFirst : STREAM_WINDOW);
    return sequence.ahead < from ? undefined : { first: from, last: sequence.ahead };
  }

  #leaveOut(sequence: Sequence, left: SpanRange, worth: number): SpanRange | undefined {
    sequence.start = this.#spans.endOf(left.last);
    if (sequence.steps < FIRST_SURE_STEP) return undefined;
    this.#extend(sequence, worth);
    return { first: left.first, last: sequence.ahead };
  }

  /** Moves `ahead` to the last span that ends within `window` bytes of what is wanted. */
  #extend(sequence: Sequence, window: number): void {
    const { count, endOf } = this.#spans;
    const limit = endOf(sequence.at) + window;
    while (sequence.ahead + 1 < count && endOf(sequence.ahead + 1) <= limit) sequence.ahead += 1;
  }
}

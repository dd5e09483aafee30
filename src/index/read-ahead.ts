/**
 * Notices who reads a layer in order, by the spans that turn out to be missing, and says what to fetch
 * before it is asked for. Whoever goes on to the next span begins a sequence, whose window grows with each step.
 * Reads here and there fetch nothing ahead. Whoever is behind the window's middle gets more, so that the link never rests.
 */

import type { SpanRange } from './layer-model.js';

/** Bytes of the blob. */
const FIRST_WINDOW = 2 << 20;
/** What comes in a round trip of 100 ms at 1.3 Gbit/s. */
const LARGEST_WINDOW = 16 << 20;
/** How much the window grows with each step. */
const GROWTH = 4;
/** Sequences that are followed at a time; the one that rests longest is dropped. */
const MAX_SEQUENCES = 4;
/** How far back, in spans, the kernel's reads may come out of order. */
const DISORDER = 2;

interface Sequence {
  /** The last span that was wanted, and the last that is fetched or on its way. */
  at: number;
  ahead: number;
  window: number;
}

export class ReadAhead {
  readonly #spanCount: number;
  readonly #endOf: (span: number) => number;
  /** The latest first. */
  readonly #sequences: Sequence[] = [];

  /** @param endOf where a span ends in the blob */
  constructor(spanCount: number, endOf: (span: number) => number) {
    this.#spanCount = spanCount;
    this.#endOf = endOf;
  }

  /** Takes note that spans `first` to `last` are wanted and not here. @returns what to fetch besides */
  next({ first, last }: SpanRange): SpanRange | undefined {
    const sequence = this.#follow(first, last);
    if (last <= sequence.at) return undefined;
    sequence.at = last;
    sequence.ahead = Math.max(sequence.ahead, last);
    sequence.window = Math.min(LARGEST_WINDOW, Math.max(FIRST_WINDOW, sequence.window * GROWTH));
    return this.#extend(sequence);
  }

  /** The sequence that these go on with, or a new one. */
  #follow(first: number, last: number): Sequence {
    const known = this.#sequences.findIndex(
      ({ at, ahead }) => first >= at - DISORDER && first <= ahead + 1 && last >= at - DISORDER,
    );
    const [sequence = { at: last, ahead: last, window: 0 }] =
      known < 0 ? [] : this.#sequences.splice(known, 1);
    this.#sequences.unshift(sequence);
    this.#sequences.length = Math.min(this.#sequences.length, MAX_SEQUENCES);
    return sequence;
  }

  #extend(sequence: Sequence): SpanRange | undefined {
    const { at, ahead, window } = sequence;
    const start = this.#endOf(at);
    if (this.#endOf(ahead) - start > window / 2) return undefined;
    let end = ahead;
    while (end + 1 < this.#spanCount && this.#endOf(end + 1) - start <= window) end += 1;
    // A span may be larger than the window.
    if (end === ahead && end + 1 < this.#spanCount) end += 1;
    if (end === ahead) return undefined;
    sequence.ahead = end;
    return { first: ahead + 1, last: end };
  }
}

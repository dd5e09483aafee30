/**
 * Brings spans of a layer into its cache. The same span is fetched once however many ask.
 *
 * Neighbours with entry points of their own are fetched together, for as long as anyone waits for them,
 * over what is here already where that is cheaper than another request. Who reads in order finds what comes
 * next on its way ({@link ReadAhead}).
 * Spans that share one, a group, are decoded in one pass that stores every one of them, asked for or
 * not. Whoever waits for one goes on as soon as it is there; the pass goes on to its end, since whoever
 * reads next would have to begin it anew.
 */

import type { BlobSource } from '../common/blob-source.js';
import { errorMessage } from '../common/errors.js';
import { type Logger, silentLogger } from '../common/log.js';
import type { LayerIndex, Span } from './layer-index.js';
import { type FetchClass, Urgency } from '../common/urgency.js';
import { ReadAhead } from './read-ahead.js';
import { SharedArrival, SoleArrival, type SpanArrival, cancelled } from './span-arrival.js';
import type { SpanCache } from './span-cache.js';
import { SpanFetcher, endOf } from './span-fetcher.js';
import { type UnkeptSpan, UnkeptSpans } from './unkept-spans.js';

/**
 * Most bytes of the blob in one read, unless a single span has more. What a reader waits for comes with its
 * read's last byte, so several small ones at a time serve better than a large one.
 */
const MAX_READ_SIZE = 2 << 20;
/** Most of a blob, over a reader's life, that is read although it is here. */
const MAX_READ_TWICE = 0.04;
/** Reads of one call at a time: one arrives while another is decoded. */
const LANES = 2;

export interface SpanReaderOptions {
  index: LayerIndex;
  cache: SpanCache;
  /** A function is called at the first need, and again if it failed. */
  source: BlobSource | (() => Promise<BlobSource>);
  /** What several readers share; default: one of its own. */
  unkept?: UnkeptSpans;
  /** Is told of the bytes of each span that is written to the cache. */
  onStored?: (bytes: number) => void;
  log?: Logger;
}

interface Work {
  abort: AbortController;
  done: Promise<void>;
}

export class SpanReader {
  readonly #index: LayerIndex;
  readonly #cache: SpanCache;
  readonly #fetcher: SpanFetcher;
  readonly #unkept: UnkeptSpans;
  readonly #arrivals = new Map<number, SpanArrival>();
  readonly #works = new Set<Work>();
  readonly #readAhead: ReadAhead;
  readonly #log: Logger;
  #readTwice = 0;
  #closed = false;

  constructor(options: SpanReaderOptions) {
    const { index, cache, source, onStored, log = silentLogger } = options;
    const unkept = options.unkept ?? new UnkeptSpans(log);
    this.#unkept = unkept;
    this.#log = log;
    this.#index = index;
    this.#cache = cache;
    const open = typeof source === 'function' ? source : () => Promise.resolve(source);
    this.#fetcher = new SpanFetcher({ index, cache, unkept, open, onStored, log });
    this.#readAhead = new ReadAhead({
      count: index.info.spanCount,
      startOf: (span) => index.span(span).blobOffset,
      endOf: (span) => endOf(index.span(span)),
    });
  }

  /** Bytes of the blob read so far. */
  get fetchedBytes(): number {
    return this.#fetcher.fetchedBytes;
  }

  /** Spans brought into the cache so far. */
  get fetchedSpans(): number {
    return this.#fetcher.fetchedSpans;
  }

  /** Bytes decoded so far, those included that were dropped on the way to a span. */
  get decodedBytes(): number {
    return this.#fetcher.decodedBytes;
  }

  /**
   * Resolves once the spans `first` to `last` are in the cache, or {@link unkept} where that does not take
   * them.
   * @throws SiphonError `corrupt` where bytes are not what the index says, `cancelled`, and what the
   * source throws; what was verified before stays cached
   */
  async ensure(
    first: number,
    last: number,
    signal: AbortSignal,
    of: FetchClass = 'waiting',
  ): Promise<void> {
    if (this.#closed) throw cancelled('the reader is closed');
    if (signal.aborted) throw cancelled('the work was cancelled', signal.reason);
    this.#cache.refresh(first, last);
    let next = first;
    const lane = async (): Promise<void> => {
      while (next <= last) {
        const number = next++;
        if (this.#cache.has(number)) continue;
        const [unkept] = this.unkept(number, number);
        if (unkept !== undefined) {
          await this.#fetcher.keep(unkept);
          continue;
        }
        const arrival = this.#arrivals.get(number) ?? this.#begin(number, last, new Urgency(of));
        arrival.urgency.raise(of);
        next = Math.max(next, arrival.last + 1);
        await arrival.wait(signal).catch((error: unknown) => {
          next = Number.POSITIVE_INFINITY;
          throw error;
        });
      }
    };
    const wanted = Promise.all(Array.from({ length: LANES }, lane));
    if (of === 'waiting') this.#tryAhead(first, last);
    await wanted;
  }

  /** Those of the spans `first` to `last` that are in memory because the cache did not take them. */
  unkept(first: number, last: number): UnkeptSpan[] {
    const numbers = Array.from({ length: last - first + 1 }, (_, at) => first + at);
    const spans = numbers.filter((number) => !this.#cache.has(number));
    return spans.flatMap((number) => this.#unkept.get(this.#index.info.blobDigest, number) ?? []);
  }

  /** Gives up what is under way and closes the source. Index and cache are the caller's. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const { abort } of this.#works) abort.abort();
    await Promise.allSettled([...this.#works].map(({ done }) => done));
    await this.#fetcher.close();
  }

  /** What fails here is not what the caller waits for, nor may it leave that to nobody. */
  #tryAhead(first: number, last: number): void {
    try {
      this.#fetchAhead(first, last);
    } catch (error) {
      this.#log.debug({ error: errorMessage(error) }, 'spans are not fetched ahead');
    }
  }

  /** Begins what the spans wanted now make likely; nobody waits for it, and nobody hears of its failure. */
  #fetchAhead(first: number, last: number): void {
    const range = this.#readAhead.next({ first, last }, this.#fetcher.requestCost);
    if (range === undefined || !this.#fetcher.isRemote) return;
    this.#cache.refresh(range.first, range.last);
    for (let number = range.first; number <= range.last; number++) {
      if (this.#isHere(number) || this.#arrivals.has(number)) continue;
      number = this.#begin(number, range.last, new Urgency('prefetch')).last;
    }
  }

  /** Whether nothing has to be fetched for it. */
  #isHere(number: number): boolean {
    return this.#cache.has(number) || this.unkept(number, number).length > 0;
  }

  #begin(number: number, limit: number, urgency: Urgency): SpanArrival {
    const span = this.#index.span(number);
    if (this.#index.hasOwnEntry(number)) return this.#beginRun(span, limit, urgency);
    return this.#beginGroup(span, urgency);
  }

  /** The missing spans from `first` to `limit` that are had in one read. */
  #run(first: Span, limit: number): Span[] {
    const spans = [first];
    for (let number = first.number + 1; number <= limit; number++) {
      if (this.#isHere(number)) continue;
      if (this.#arrivals.has(number) || !this.#index.hasOwnEntry(number)) break;
      const next = this.#index.span(number);
      const gap = this.#presentBetween(spans.at(-1) ?? first, next);
      const isCheap = gap === 0 || gap <= this.#fetcher.requestCost;
      const isTooMuch =
        endOf(next) - first.blobOffset > MAX_READ_SIZE ||
        this.#readTwice + gap > this.#index.info.blobSize * MAX_READ_TWICE;
      if (!isCheap || isTooMuch) break;
      this.#readTwice += gap;
      spans.push(next);
    }
    return spans;
  }

  /** Bytes of the blob between two missing spans that are here already. */
  #presentBetween(before: Span, after: Span): number {
    return after.number === before.number + 1 ? 0 : Math.max(0, after.blobOffset - endOf(before));
  }

  #beginRun(first: Span, limit: number, urgency: Urgency): SpanArrival {
    const spans = this.#run(first, limit);
    const end = spans.at(-1)?.number ?? first.number;
    const { abort, done } = this.#work((signal) =>
      this.#fetcher.fetchRun(spans, { signal, urgency }),
    );
    const forget = () => {
      for (const span of spans) this.#forget(span, arrival);
    };
    const arrival = new SharedArrival(end, done.finally(forget), urgency, () => {
      // Whoever asks next begins anew.
      forget();
      abort.abort();
    });
    for (const span of spans) this.#arrivals.set(span.number, arrival);
    return arrival;
  }

  #beginGroup(wanted: Span, urgency: Urgency): SpanArrival {
    const absent = this.#index
      .group(wanted.number)
      .filter(({ number }) => !this.#cache.has(number));
    const mine = new SoleArrival(wanted.number, urgency);
    const arrivals = new Map(
      absent.map(({ number }) => [number, new SoleArrival(number, urgency)]),
    );
    arrivals.set(wanted.number, mine);
    for (const [number, arrival] of arrivals) this.#arrivals.set(number, arrival);
    const stored = ({ number }: Span) => {
      arrivals.get(number)?.resolve();
      this.#arrivals.delete(number);
      arrivals.delete(number);
    };
    const { done } = this.#work((signal) =>
      this.#fetcher.fetchGroup(absent, { signal, urgency }, stored),
    );
    done.catch((error: unknown) => {
      for (const [number, arrival] of arrivals) {
        this.#arrivals.delete(number);
        arrival.reject(error);
      }
    });
    return mine;
  }

  #work(action: (signal: AbortSignal) => Promise<void>): Work {
    const abort = new AbortController();
    const work: Work = { abort, done: action(abort.signal) };
    work.done = work.done.finally(() => this.#works.delete(work));
    this.#works.add(work);
    return work;
  }

  #forget({ number }: Span, arrival: SpanArrival): void {
    if (this.#arrivals.get(number) === arrival) this.#arrivals.delete(number);
  }
}

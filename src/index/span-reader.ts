/**
 * Brings spans of a layer into its cache. The same span is fetched once however many ask.
 *
 * Neighbours with entry points of their own are fetched together, for as long as anyone waits for them.
 * Spans that share one, a group, are decoded in one pass that stores every one of them, asked for or
 * not. Whoever waits for one goes on as soon as it is there; the pass goes on to its end, since whoever
 * reads next would have to begin it anew.
 */

import type { BlobSource } from '../common/blob-source.js';
import { type Logger, silentLogger } from '../common/log.js';
import type { LayerIndex, Span } from './layer-index.js';
import { SharedArrival, SoleArrival, type SpanArrival, cancelled } from './span-arrival.js';
import type { SpanCache } from './span-cache.js';
import { SpanFetcher, endOf } from './span-fetcher.js';

/** Most bytes of the blob in one read, unless a single span has more. */
const MAX_READ_SIZE = 8 << 20;
/** Reads of one call at a time: one arrives while another is decoded. */
const LANES = 2;

export interface SpanReaderOptions {
  index: LayerIndex;
  cache: SpanCache;
  /** A function is called at the first need, and again if it failed. */
  source: BlobSource | (() => Promise<BlobSource>);
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
  readonly #arrivals = new Map<number, SpanArrival>();
  readonly #works = new Set<Work>();
  #closed = false;

  constructor(options: SpanReaderOptions) {
    const { index, cache, source, log = silentLogger } = options;
    this.#index = index;
    this.#cache = cache;
    const open = typeof source === 'function' ? source : () => Promise.resolve(source);
    this.#fetcher = new SpanFetcher({ index, cache, open, log });
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
   * Resolves once the spans `first` to `last` are in the cache.
   * @throws SiphonError `corrupt` where bytes are not what the index says, `cancelled`, and what the
   * source and the cache throw; what was verified before stays cached
   */
  async ensure(first: number, last: number, signal: AbortSignal): Promise<void> {
    if (this.#closed) throw cancelled('the reader is closed');
    if (signal.aborted) throw cancelled('the work was cancelled', signal.reason);
    this.#cache.refresh(first, last);
    let next = first;
    const lane = async (): Promise<void> => {
      while (next <= last) {
        const number = next++;
        if (this.#cache.has(number)) continue;
        const arrival = this.#arrivals.get(number) ?? this.#begin(number, last);
        next = Math.max(next, arrival.last + 1);
        await arrival.wait(signal).catch((error: unknown) => {
          next = Number.POSITIVE_INFINITY;
          throw error;
        });
      }
    };
    await Promise.all(Array.from({ length: LANES }, lane));
  }

  /** Gives up what is under way and closes the source. Index and cache are the caller's. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const { abort } of this.#works) abort.abort();
    await Promise.allSettled([...this.#works].map(({ done }) => done));
    await this.#fetcher.close();
  }

  #begin(number: number, limit: number): SpanArrival {
    const span = this.#index.span(number);
    if (this.#index.hasOwnEntry(number)) return this.#beginRun(span, limit);
    return this.#beginGroup(span);
  }

  #beginRun(first: Span, limit: number): SpanArrival {
    const spans = [first];
    for (let number = first.number + 1; number <= limit; number++) {
      if (this.#cache.has(number) || this.#arrivals.has(number)) break;
      if (!this.#index.hasOwnEntry(number)) break;
      const next = this.#index.span(number);
      if (endOf(next) - first.blobOffset > MAX_READ_SIZE) break;
      spans.push(next);
    }
    const { abort, done } = this.#work((signal) => this.#fetcher.fetchRun(spans, signal));
    const forget = () => {
      for (const span of spans) this.#forget(span, arrival);
    };
    const arrival = new SharedArrival(first.number + spans.length - 1, done.finally(forget), () => {
      // Whoever asks next begins anew.
      forget();
      abort.abort();
    });
    for (const span of spans) this.#arrivals.set(span.number, arrival);
    return arrival;
  }

  #beginGroup(wanted: Span): SpanArrival {
    const absent = this.#index
      .group(wanted.number)
      .filter(({ number }) => !this.#cache.has(number));
    const mine = new SoleArrival(wanted.number);
    const arrivals = new Map(absent.map(({ number }) => [number, new SoleArrival(number)]));
    arrivals.set(wanted.number, mine);
    for (const [number, arrival] of arrivals) this.#arrivals.set(number, arrival);
    const stored = ({ number }: Span) => {
      arrivals.get(number)?.resolve();
      this.#arrivals.delete(number);
      arrivals.delete(number);
    };
    this.#work((signal) => this.#fetcher.fetchGroup(absent, signal, stored)).done.catch(
      (error: unknown) => {
        for (const [number, arrival] of arrivals) {
          this.#arrivals.delete(number);
          arrival.reject(error);
        }
      },
    );
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

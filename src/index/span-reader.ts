/**
 * Brings spans of a layer into its cache: fetches the bytes of those that are absent, decodes each from
 * its checkpoint, and checks it before anything can see it. The same span is fetched once however many
 * ask; a fetch goes on as long as anyone waits for it.
 */

import type { BlobSource } from '../common/blob-source.js';
import { SiphonError, errorCode } from '../common/errors.js';
import { type Logger, silentLogger } from '../common/log.js';
import { inflateSpan } from './inflate-span.js';
import type { LayerIndex, Span } from './layer-index.js';
import type { SpanCache } from './span-cache.js';

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

/** Spans next to each other that are fetched together. */
interface Run {
  first: number;
  last: number;
  blobOffset: number;
  blobLength: number;
  /** How many wait for it. */
  waiting: number;
  settled: boolean;
  abort: AbortController;
  done: Promise<void>;
}

export class SpanReader {
  readonly #index: LayerIndex;
  readonly #cache: SpanCache;
  readonly #open: () => Promise<BlobSource>;
  readonly #log: Logger;
  readonly #underway = new Map<number, Run>();
  #source: Promise<BlobSource> | undefined;
  #fetchedBytes = 0;
  #closed = false;

  constructor(options: SpanReaderOptions) {
    const { index, cache, source, log = silentLogger } = options;
    this.#index = index;
    this.#cache = cache;
    this.#open = typeof source === 'function' ? source : () => Promise.resolve(source);
    this.#log = log;
  }

  /** Bytes of the blob read so far. */
  get fetchedBytes(): number {
    return this.#fetchedBytes;
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
        const run = this.#underway.get(number) ?? this.#begin(number, last);
        next = Math.max(next, run.last + 1);
        await this.#wait(run, signal).catch((error: unknown) => {
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
    const runs = new Set(this.#underway.values());
    for (const run of runs) run.abort.abort();
    await Promise.allSettled([...runs].map((run) => run.done));
    const source = await this.#source?.catch(() => undefined);
    await source?.close();
  }

  #begin(first: number, limit: number): Run {
    const start = this.#index.span(first);
    let end = start;
    for (let number = first + 1; number <= limit; number++) {
      if (this.#cache.has(number) || this.#underway.has(number)) break;
      const next = this.#index.span(number);
      if (endOf(next) - start.blobOffset > MAX_READ_SIZE) break;
      end = next;
    }
    const abort = new AbortController();
    const run: Run = {
      first,
      last: end.number,
      blobOffset: start.blobOffset,
      blobLength: endOf(end) - start.blobOffset,
      waiting: 0,
      settled: false,
      abort,
      done: Promise.resolve(),
    };
    for (let number = first; number <= run.last; number++) this.#underway.set(number, run);
    run.done = this.#fetch(run).finally(() => this.#forget(run));
    // Whoever waits sees it; all may have left.
    run.done.catch(() => undefined);
    return run;
  }

  async #wait(run: Run, signal: AbortSignal): Promise<void> {
    run.waiting += 1;
    try {
      await untilAborted(run.done, signal);
    } finally {
      run.waiting -= 1;
      if (run.waiting === 0 && !run.settled) {
        // Nobody wants it any more; whoever asks next begins anew.
        this.#forget(run);
        run.abort.abort();
      }
    }
  }

  async #fetch(run: Run): Promise<void> {
    const source = await this.#openSource();
    const bytes = await source.read(run.blobOffset, run.blobLength, run.abort.signal);
    this.#fetchedBytes += bytes.length;
    for (let number = run.first; number <= run.last; number++) {
      if (run.abort.signal.aborted) throw cancelled('nobody waits for it');
      await this.#store(this.#index.span(number), { bytes, offset: run.blobOffset, source });
    }
  }

  async #store(
    span: Span,
    from: { bytes: Buffer; offset: number; source: BlobSource },
  ): Promise<void> {
    const start = span.blobOffset - from.offset;
    const packed = from.bytes.subarray(start, start + span.blobLength);
    const plain = await this.#decode(span, packed, from.source);
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', plain));
    if (span.digest.compare(digest) !== 0) throw this.#mismatch(span, from.source);
    await this.#cache.write(span.number, span.tarOffset, plain);
    this.#log.trace({ span: span.number, bytes: plain.length }, 'span cached');
  }

  async #decode(span: Span, packed: Buffer, source: BlobSource): Promise<Buffer> {
    if (this.#index.info.compression === 'none') return packed;
    const window = this.#index.window(span.number);
    try {
      return await inflateSpan(span, packed, window);
    } catch (error) {
      if (errorCode(error) === 'corrupt') throw this.#mismatch(span, source, error);
      throw error;
    }
  }

  #mismatch(span: Span, source: BlobSource, cause?: unknown): SiphonError {
    const { blobDigest } = this.#index.info;
    return new SiphonError(
      'corrupt',
      `Cannot read span ${span.number} of layer "${blobDigest}": the bytes from ${source.name} are not those of the index, expected sha256:${span.digest.toString('hex')}`,
      { cause },
    );
  }

  async #openSource(): Promise<BlobSource> {
    this.#source ??= this.#open();
    try {
      return await this.#source;
    } catch (error) {
      this.#source = undefined;
      throw error;
    }
  }

  #forget(run: Run): void {
    run.settled = true;
    for (let number = run.first; number <= run.last; number++) {
      if (this.#underway.get(number) === run) this.#underway.delete(number);
    }
  }
}

function endOf(span: Span): number {
  return span.blobOffset + span.blobLength;
}

/** Waits for `promise`, but not longer than `signal` allows. */
async function untilAborted(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  let onAbort: () => void = () => undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(cancelled('the work was cancelled', signal.reason));
    signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

function cancelled(why: string, cause?: unknown): SiphonError {
  return new SiphonError('cancelled', `Cannot fetch spans: ${why}`, { cause });
}

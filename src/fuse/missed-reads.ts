/**
 * Reads that wait for spans. Each ends, whatever `fetch` does: with its bytes; with EIO when fetching
 * failed or the time is up; with EINTR as soon as its reader is dying. Reads of the same spans share
 * one fetch, which is aborted when none of them waits any more.
 *
 * The kernel reads ahead first and, where that failed, reads the page itself: a failed read comes at
 * once a second time. So spans that ran out of time fail fast for a moment, lest the wait be doubled.
 */

import { constants } from 'node:os';
import { SiphonError, errorMessage } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import { SharedWork } from '../common/shared-work.js';
import { passing } from '../common/spare-buffers.js';
import type { UnkeptSpan } from '../index/unkept-spans.js';
import type { FetchSpans, Miss, MissedRead, UnkeptOf } from './missed-read.js';
import { RecentFailures } from './recent-failures.js';
import { replyHeaderSize } from './protocol/reply.js';
import { uniqueKey } from './protocol/request.js';
import { fillFrom, readSegments } from './read-segments.js';
import { isDying } from './thread-signals.js';

export interface MissedReadsOptions {
  fetch: FetchSpans;
  unkept?: UnkeptOf | undefined;
  /** Milliseconds until a read fails. */
  timeout: number;
  /** What keeps a layer's bytes from coming, in words; `undefined` where that is not known. */
  problem?: ((layer: number) => string | undefined) | undefined;
  /** The span cache of a layer; `undefined` where the layer is not served any more. */
  cache: (layer: number) => SpanData | undefined;
  /** Writes an answer to the kernel. Its memory is used for others once that is done. */
  reply: (message: Buffer) => Promise<void>;
  /** Tells of a read that failed with EIO. */
  failed: (read: MissedRead, error: unknown) => void;
  log: Logger;
}

export interface SpanData {
  cachePath: string;
  presence: SharedArrayBuffer;
}

/** How often an interrupted read asks whether its reader is dying, in ms. */
const watchInterval = 50;
/** Interrupts kept that came before their read. */
const earlyInterruptLimit = 1024;
/** Fetches that may succeed and leave spans absent (taken out again meanwhile) before a read fails. */
const fetchAttempts = 3;

const { EIO, EINTR, ESTALE } = constants.errno;

interface Waiting {
  read: MissedRead;
  abort: AbortController;
  watch: NodeJS.Timeout | undefined;
}

export class MissedReads {
  readonly #options: MissedReadsOptions;
  readonly #answers = new Set<Promise<void>>();
  readonly #waiting = new Map<number, Waiting>();
  readonly #earlyInterrupts = new Set<number>();
  readonly #fetches = new SharedWork<string, void>();
  readonly #expired = new RecentFailures();
  #closed = false;
  /** Reads that came, and those that failed with EIO. */
  count = 0;
  failures = 0;
  bytesRead = 0;

  constructor(options: MissedReadsOptions) {
    this.#options = options;
  }

  /** Takes a read over and sees to its answer. */
  serve(read: MissedRead): void {
    const answered = this.#serve(read).finally(() => this.#answers.delete(answered));
    this.#answers.add(answered);
  }

  async #serve(read: MissedRead): Promise<void> {
    this.count += 1;
    const key = uniqueKey(read.uniqueLow, read.uniqueHigh);
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(timeUp), this.#options.timeout);
    const waiting: Waiting = { read, abort, watch: undefined };
    this.#waiting.set(key, waiting);
    if (this.#earlyInterrupts.delete(key)) this.#watch(waiting);
    if (this.#closed) waiting.abort.abort(gone);
    const message = await this.#answer(waiting);
    clearTimeout(timer);
    clearInterval(waiting.watch);
    this.#waiting.delete(key);
    await this.#reply(message);
    passing.giveBack(message);
  }

  /** The kernel wants the request given up, which may not have arrived yet or be answered already. */
  interrupt(key: number): void {
    const waiting = this.#waiting.get(key);
    if (waiting !== undefined) this.#watch(waiting);
    else {
      this.#earlyInterrupts.add(key);
      for (const oldest of this.#earlyInterrupts) {
        if (this.#earlyInterrupts.size <= earlyInterruptLimit) break;
        this.#earlyInterrupts.delete(oldest);
      }
    }
  }

  /** Fails all reads, those to come too; resolves when those that were there have been answered. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const { abort } of this.#waiting.values()) abort.abort(gone);
    await Promise.all(this.#answers);
  }

  #watch(waiting: Waiting): void {
    if (waiting.watch !== undefined) return;
    const look = (): void => {
      if (isDying(waiting.read.pid)) waiting.abort.abort(readerDies);
    };
    waiting.watch = setInterval(look, watchInterval);
    look();
  }

  async #answer({ read, abort: { signal } }: Waiting): Promise<Buffer> {
    try {
      const message = await this.#contents(read, signal);
      this.bytesRead += message.length - replyHeaderSize;
      return finish(message, read, 0);
    } catch (error) {
      return finish(Buffer.alloc(replyHeaderSize), read, this.#errno(read, signal, error));
    }
  }

  /** The reply's bytes, without its header. */
  async #contents(read: MissedRead, signal: AbortSignal): Promise<Buffer> {
    const cache = this.#options.cache(read.layer);
    if (cache === undefined) throw layerGone;
    if (this.#expired.includes(read)) throw timeUp;
    const needed = rangeOf(read.layer, read.spans) ?? read;
    let missing: Miss = read;
    for (let attempt = 0; attempt < fetchAttempts; attempt += 1) {
      await this.#fetch(missing, signal);
      const unkept = this.#options.unkept?.(needed) ?? [];
      const length = read.segments.reduce((sum, segment) => sum + segment.length, 0);
      const message = passing.take(replyHeaderSize + length);
      const contents = message.subarray(replyHeaderSize);
      await readSegments(cache.cachePath, read.segments, contents);
      fillFrom(unkept, read.segments, contents);
      const absent = rangeOf(read.layer, absentOf(cache, read, unkept));
      if (absent === undefined) return message;
      missing = absent;
      passing.giveBack(message);
    }
    throw new SiphonError(
      'internal',
      `Cannot read spans ${read.firstSpan} to ${read.lastSpan} of layer ${read.layer}: they are absent after being fetched ${fetchAttempts} times`,
    );
  }

  #fetch({ layer, firstSpan, lastSpan }: Miss, signal: AbortSignal): Promise<void> {
    const miss = { layer, firstSpan, lastSpan };
    const key = `${layer}:${firstSpan}-${lastSpan}`;
    return this.#fetches.run(key, signal, (shared) => this.#options.fetch(miss, shared));
  }

  #errno(read: MissedRead, signal: AbortSignal, error: unknown): number {
    if (signal.reason === readerDies) return EINTR;
    if (error === layerGone) return ESTALE;
    this.failures += 1;
    if (signal.reason === gone || error === timeUp) return EIO;
    if (signal.reason === timeUp) this.#expired.add(read);
    this.#options.failed(read, signal.reason === timeUp ? this.#timeoutError(read) : error);
    return EIO;
  }

  #timeoutError({ firstSpan, lastSpan, layer }: MissedRead): SiphonError {
    const { timeout, problem } = this.#options;
    const why = problem?.(layer);
    return new SiphonError(
      'timeout',
      `Cannot read spans ${firstSpan} to ${lastSpan} of layer ${layer}: they did not arrive within ${timeout} ms${why === undefined ? '' : ` (${why})`}`,
    );
  }

  async #reply(message: Buffer): Promise<void> {
    try {
      await this.#options.reply(message);
    } catch (error) {
      this.#options.log.debug({ error: errorMessage(error) }, 'nobody takes the answer to a read');
    }
  }
}

const timeUp = new Error('time is up');
const readerDies = new Error('the reader is dying');
const gone = new Error('the mount is gone');
const layerGone = new Error('the layer is not served any more');

/** Spans that were not there for the whole of a read, or have not come. */
function absentOf(
  { presence }: SpanData,
  { spans }: MissedRead,
  unkept: readonly UnkeptSpan[],
): number[] {
  const present = new Uint8Array(presence);
  const isUnkept = (span: number): boolean => unkept.some(({ number }) => number === span);
  return spans.filter((span) => Atomics.load(present, span) === 0 && !isUnkept(span));
}

function rangeOf(layer: number, spans: readonly number[]): Miss | undefined {
  if (spans.length === 0) return undefined;
  return { layer, firstSpan: Math.min(...spans), lastSpan: Math.max(...spans) };
}

/** Fills in `fuse_out_header`. */
function finish(message: Buffer, read: MissedRead, errno: number): Buffer {
  message.writeUInt32LE(message.length, 0);
  message.writeInt32LE(-errno, 4);
  message.writeUInt32LE(read.uniqueLow, 8);
  message.writeUInt32LE(read.uniqueHigh, 12);
  return message;
}

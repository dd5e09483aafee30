/**
 * What is asked of one host, in the order in which it is wanted. A read that waits goes before whatever
 * is fetched ahead, and that before what only fills the disk; among equals, images take turns. What is
 * queued may become more urgent. Half of the host's requests are kept for reads that wait, and filling
 * rests while there are any, and for a moment after.
 *
 * A stream of a whole blob has a place among the requests, and its bytes count, but no read waits for it, neither for its
 * place nor until it is paid for: while reads need all places, streams rest where they are.
 */

import type { BlobSource } from '../common/blob-source.js';
import { type FetchClass, Urgency } from '../common/urgency.js';
import { LinkCost } from './link-cost.js';
import { RateLimit } from './rate-limit.js';
import { cancellation } from './watchdog.js';

export interface QueueLimits {
  /** Requests to a host at a time. */
  requests: number;
  /** Bytes asked of a host per second, on average; default: no limit. */
  bytesPerSecond?: number | undefined;
}

export const defaultQueueLimits: QueueLimits = { requests: 8 };

export interface FetchCounts {
  requests: number;
  bytes: number;
}

interface Request {
  urgency: Urgency;
  /** Those of one flow, an image's repository, take turns with those of others. */
  flow: string;
  /** Of a stream, those are counted that come. */
  bytes: number;
  signal: AbortSignal;
}

interface Entry extends Request {
  isStream: boolean;
}

/** What waits, and what lets each of it go on. */
type Waiting = Map<Entry, () => void>;

/** Milliseconds after the last read that waited until filling goes on. */
const QUIET = 1000;

export class FetchQueue {
  /** To be told of each request that was answered. */
  readonly link = new LinkCost();
  readonly done: Record<FetchClass, FetchCounts> = {
    waiting: { requests: 0, bytes: 0 },
    prefetch: { requests: 0, bytes: 0 },
    fill: { requests: 0, bytes: 0 },
  };
  readonly #limits: QueueLimits;
  readonly #rate: RateLimit;
  /** In the order of arrival. */
  readonly #queued: Waiting = new Map();
  /** In the order of their starts. */
  readonly #running = new Set<Entry>();
  /** Streams that run, and rest. */
  readonly #resting: Waiting = new Map();
  /** When each flow that wants something had its last turn. */
  readonly #turns = new Map<string, number>();
  #turn = 0;
  /** By the clock of `performance`: until when reads are expected. */
  #quietAt = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(limits: QueueLimits = defaultQueueLimits) {
    this.#limits = limits;
    this.#rate = new RateLimit(limits.bytesPerSecond);
  }

  /** Requests that wait for their turn, of one class. */
  queued(of: FetchClass): number {
    return countOf(this.#queued.keys(), (entry) => entry.urgency.class === of);
  }

  /**
   * Does `work` when it is its turn.
   * @throws SiphonError `cancelled` as soon as `signal` is aborted before that; what the work throws
   */
  async run<T>(request: Request, work: () => Promise<T>): Promise<T> {
    const entry = { ...request, isStream: false };
    await this.#turnOf(entry);
    try {
      const result = await work();
      this.#count(entry, 1, request.bytes);
      return result;
    } finally {
      this.#end(entry);
    }
  }

  /** `source`, read in this queue's order. */
  ordering(source: BlobSource, flow: string): BlobSource {
    const { link } = this;
    return {
      name: source.name,
      size: source.size,
      local: source.local,
      get requestCost() {
        return link.bytesPerRequest;
      },
      read: (offset, length, signal, urgency = new Urgency('waiting')) =>
        this.run({ urgency, flow, bytes: length, signal }, () =>
          source.read(offset, length, signal),
        ),
      stream: (signal, from = 0, urgency = new Urgency('waiting')) =>
        this.#stream({ urgency, flow, bytes: 0, signal }, () => source.stream(signal, from)),
      elsewhere: (rejected) => this.ordering(source.elsewhere?.(rejected) ?? source, flow),
      close: () => source.close(),
    };
  }

  async *#stream(
    request: Request,
    open: () => AsyncIterable<Uint8Array>,
  ): AsyncGenerator<Uint8Array> {
    const entry = { ...request, isStream: true };
    await this.#turnOf(entry);
    try {
      for await (const chunk of open()) {
        this.#rate.spend(chunk.byteLength, rankOf(entry));
        this.#count(entry, 0, chunk.byteLength);
        yield chunk;
        if (!this.#mayFlow(entry, performance.now())) await this.#wait(entry, this.#resting);
      }
      this.#count(entry, 1, 0);
    } finally {
      this.#end(entry);
    }
  }

  async #turnOf(entry: Entry): Promise<void> {
    entry.urgency.onRaise(() => this.#next());
    await this.#wait(entry, this.#queued);
  }

  /** Resolves when the queue lets it go on. @throws SiphonError `cancelled` */
  #wait(entry: Entry, among: Waiting): Promise<void> {
    const { signal } = entry;
    if (signal.aborted) return Promise.reject(cancellation(signal));
    return new Promise((resolve, reject) => {
      const abandon = (): void => {
        among.delete(entry);
        this.#forget(entry);
        reject(cancellation(signal));
        this.#next();
      };
      among.set(entry, () => {
        among.delete(entry);
        signal.removeEventListener('abort', abandon);
        resolve();
      });
      signal.addEventListener('abort', abandon, { once: true });
      this.#next();
    });
  }

  #end(entry: Entry): void {
    this.#running.delete(entry);
    if (entry.urgency.class === 'waiting') this.#quietAt = performance.now() + QUIET;
    this.#forget(entry);
    this.#next();
  }

  /** Starts whatever may start, and lets streams go on that may. */
  #next(): void {
    // One time for all of it: what is not due when it is looked at is waited for, however soon that is.
    const now = performance.now();
    for (let entry = this.#best(now); entry !== undefined; entry = this.#best(now)) {
      this.#running.add(entry);
      this.#turns.set(entry.flow, ++this.#turn);
      this.#rate.spend(entry.bytes, rankOf(entry));
      this.#queued.get(entry)?.();
    }
    for (const [entry, goOn] of this.#resting) if (this.#mayFlow(entry, now)) goOn();
    this.#nextLater(now);
  }

  #best(now: number): Entry | undefined {
    let best: Entry | undefined;
    for (const entry of this.#queued.keys()) {
      if (!this.#mayStart(entry, now)) continue;
      if (best === undefined || this.#isBefore(entry, best)) best = entry;
    }
    return best;
  }

  #mayStart(entry: Entry, now: number): boolean {
    const { requests } = this.#limits;
    if (now < this.#timeOf(entry)) return false;
    if (isRead(entry)) return countOf(this.#running, (one) => !one.isStream) < requests;
    const ahead = this.#running.size - countOf(this.#running, isRead);
    const mostAhead = Math.max(1, Math.floor(requests / 2));
    if (this.#running.size >= requests || ahead >= mostAhead) return false;
    return entry.urgency.class !== 'fill' || countOf(this.#running, isFill) === 0;
  }

  /** Whether a stream has a place beside the requests that run, and its next bytes may come. */
  #mayFlow(entry: Entry, now: number): boolean {
    if (now < this.#timeOf(entry)) return false;
    let places = this.#limits.requests - countOf(this.#running, (one) => !one.isStream);
    for (const one of this.#running) {
      if (!one.isStream) continue;
      if (one === entry) return places > 0;
      places -= 1;
    }
    return false;
  }

  /** From when on it may start or go on, as things are. */
  #timeOf(entry: Entry): number {
    const allowedAt = this.#rate.allowedAt(rankOf(entry));
    if (!isFill(entry)) return allowedAt;
    if (countOf(this.#running, ({ urgency }) => urgency.class === 'waiting') > 0) return Infinity;
    return Math.max(allowedAt, this.#quietAt);
  }

  #isBefore(a: Entry, b: Entry): boolean {
    if (a.urgency.rank !== b.urgency.rank) return a.urgency.rank < b.urgency.rank;
    return (this.#turns.get(a.flow) ?? 0) < (this.#turns.get(b.flow) ?? 0);
  }

  /** Looks again when time alone lets something go on. */
  #nextLater(now: number): void {
    clearTimeout(this.#timer);
    const times = [...this.#queued.keys(), ...this.#resting.keys()].map((one) => this.#timeOf(one));
    const next = Math.min(...times.filter((time) => time > now));
    if (!Number.isFinite(next)) return;
    this.#timer = setTimeout(() => this.#next(), Math.ceil(next - now)).unref();
  }

  #count({ urgency }: Entry, requests: number, bytes: number): void {
    const counts = this.done[urgency.class];
    counts.requests += requests;
    counts.bytes += bytes;
  }

  #forget({ flow }: Entry): void {
    for (const entries of [this.#queued.keys(), this.#running])
      for (const entry of entries) if (entry.flow === flow) return;
    this.#turns.delete(flow);
  }
}

/** Streams are the least urgent of those that somebody waits for: nobody needs their next byte at once. */
function rankOf({ urgency, isStream }: Entry): number {
  return isStream ? Math.max(1, urgency.rank) : urgency.rank;
}

function isRead({ urgency, isStream }: Entry): boolean {
  return !isStream && urgency.class === 'waiting';
}

function isFill({ urgency }: Entry): boolean {
  return urgency.class === 'fill';
}

function countOf(entries: Iterable<Entry>, matches: (entry: Entry) => boolean): number {
  let count = 0;
  for (const entry of entries) if (matches(entry)) count += 1;
  return count;
}

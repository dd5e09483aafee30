/**
 * What is asked of one host, in the order in which it is wanted. A read that waits goes before whatever
 * is fetched ahead, and that before what only fills the disk; among equals, images take turns. What is
 * queued may become more urgent. Half of the host's requests are kept for reads that wait, and filling
 * rests while there are any, and for a moment after.
 */

import type { BlobSource } from '../common/blob-source.js';
import { type FetchClass, Urgency } from '../common/urgency.js';
import { LinkCost } from './link-cost.js';
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
  bytes: number;
  signal: AbortSignal;
}

interface Entry extends Request {
  start: () => void;
}

/** Milliseconds after the last read that waited until filling goes on. */
const QUIET = 1000;

export class FetchQueue {
  readonly link = new LinkCost();
  readonly done: Record<FetchClass, FetchCounts> = {
    waiting: { requests: 0, bytes: 0 },
    prefetch: { requests: 0, bytes: 0 },
    fill: { requests: 0, bytes: 0 },
  };
  readonly #limits: QueueLimits;
  /** In the order of arrival. */
  readonly #queued = new Set<Entry>();
  readonly #running = new Set<Entry>();
  /** When each flow that wants something had its last turn. */
  readonly #turns = new Map<string, number>();
  #turn = 0;
  /** By the clock of `performance`: until when reads are expected, and when the rate allows more. */
  #quietAt = 0;
  #allowedAt = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(limits: QueueLimits = defaultQueueLimits) {
    this.#limits = limits;
  }

  /** Requests that wait for their turn, of one class. */
  queued(of: FetchClass): number {
    return countOf(this.#queued, of);
  }

  /**
   * Does `work` when it is its turn.
   * @throws SiphonError `cancelled` as soon as `signal` is aborted before that; what the work throws
   */
  async run<T>(request: Request, work: () => Promise<T>): Promise<T> {
    const entry = await this.#turnOf(request);
    const start = performance.now();
    try {
      const result = await work();
      this.link.learn(request.bytes, performance.now() - start);
      this.#count(request);
      return result;
    } finally {
      this.#running.delete(entry);
      if (entry.urgency.class === 'waiting') this.#quietAt = performance.now() + QUIET;
      this.#forget(entry);
      this.#next();
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
      stream: (signal, from) => source.stream(signal, from),
      elsewhere: (rejected) => this.ordering(source.elsewhere?.(rejected) ?? source, flow),
      close: () => source.close(),
    };
  }

  #turnOf(request: Request): Promise<Entry> {
    const { signal, urgency } = request;
    if (signal.aborted) return Promise.reject(cancellation(signal));
    return new Promise((resolve, reject) => {
      const abandon = (): void => {
        this.#queued.delete(entry);
        this.#forget(entry);
        reject(cancellation(signal));
        this.#next();
      };
      const start = (): void => {
        signal.removeEventListener('abort', abandon);
        resolve(entry);
      };
      const entry: Entry = { ...request, start };
      signal.addEventListener('abort', abandon, { once: true });
      urgency.onRaise(() => this.#next());
      this.#queued.add(entry);
      this.#next();
    });
  }

  /** Starts whatever may start. */
  #next(): void {
    for (let entry = this.#best(); entry !== undefined; entry = this.#best()) {
      this.#queued.delete(entry);
      this.#running.add(entry);
      this.#turns.set(entry.flow, ++this.#turn);
      this.#spend(entry.bytes);
      entry.start();
    }
    this.#nextLater();
  }

  #best(): Entry | undefined {
    if (this.#running.size >= this.#limits.requests) return undefined;
    if (performance.now() < this.#allowedAt) return undefined;
    let best: Entry | undefined;
    for (const entry of this.#queued) {
      if (!this.#mayStart(entry)) continue;
      if (best === undefined || this.#isBefore(entry, best)) best = entry;
    }
    return best;
  }

  #mayStart({ urgency }: Entry): boolean {
    if (urgency.class === 'waiting') return true;
    const waiting = countOf(this.#running, 'waiting');
    const ahead = this.#running.size - waiting;
    if (ahead >= Math.max(1, Math.floor(this.#limits.requests / 2))) return false;
    if (urgency.class === 'prefetch') return true;
    const isQuiet = waiting === 0 && performance.now() >= this.#quietAt;
    return isQuiet && countOf(this.#running, 'fill') === 0;
  }

  #isBefore(a: Entry, b: Entry): boolean {
    if (a.urgency.rank !== b.urgency.rank) return a.urgency.rank < b.urgency.rank;
    return (this.#turns.get(a.flow) ?? 0) < (this.#turns.get(b.flow) ?? 0);
  }

  #spend(bytes: number): void {
    const { bytesPerSecond } = this.#limits;
    if (bytesPerSecond === undefined) return;
    const from = Math.max(performance.now(), this.#allowedAt);
    this.#allowedAt = from + (bytes / bytesPerSecond) * 1000;
  }

  /** Looks again when time alone lets something start. */
  #nextLater(): void {
    clearTimeout(this.#timer);
    if (this.#queued.size === 0) return;
    const wanted = countOf(this.#queued, 'fill') > 0 ? this.#quietAt : 0;
    const wait = Math.max(wanted, this.#allowedAt) - performance.now();
    if (wait > 0) this.#timer = setTimeout(() => this.#next(), Math.ceil(wait)).unref();
  }

  #count({ urgency, bytes }: Request): void {
    const counts = this.done[urgency.class];
    counts.requests += 1;
    counts.bytes += bytes;
  }

  #forget({ flow }: Entry): void {
    for (const entries of [this.#queued, this.#running])
      for (const entry of entries) if (entry.flow === flow) return;
    this.#turns.delete(flow);
  }
}

function countOf(entries: Iterable<Entry>, of: FetchClass): number {
  let count = 0;
  for (const { urgency } of entries) if (urgency.class === of) count += 1;
  return count;
}

/**
 * What contestants ask of a registry, and what they are sent: counted at a proxy before the registry, so that
 * everyone is counted the same way and nobody has to tell. A piece of a body is noted when it is handed to the
 * network; on a slow link it arrives later, by what the link holds.
 */

import type { Traffic, TrafficPiece } from '../harness/result.js';
import {
  type Exchange,
  type ProxyHooks,
  type ReverseProxy,
  startReverseProxy,
} from './reverse-proxy.js';

/** A body that takes longer, or is larger, is noted as several pieces. */
const PIECE_MS = 50;
const PIECE_BYTES = 1 << 20;

/** One request as the meter saw it. */
export interface MeteredRequest {
  method: string;
  /** Path with query. */
  url: string;
  status: number;
  /** Of the answer's body. */
  bytes: number;
  /** After the measurement's begin; an `endMs` is that of the last byte, or of the connection's end. */
  startMs: number;
  endMs: number;
}

/** From {@link TrafficMeter.start} on. */
export interface TrafficLog extends Traffic {
  log: MeteredRequest[];
}

export interface TrafficMeter extends ReverseProxy {
  /** Forgets what was; times count from `begin`, by default now. @param begin as of `performance.now()` */
  start(begin?: number): void;
  /** What was since, answers that have not ended included; of errors, only that they were asked for. */
  read(): TrafficLog;
}

/** @param registry `127.0.0.1:PORT`, plain HTTP */
export async function startTrafficMeter(registry: string): Promise<TrafficMeter> {
  let book = new TrafficBook(performance.now());
  const proxy = await startReverseProxy(registry, {
    before: (exchange) => book.hooks.before(exchange),
    answered: (exchange, head) => book.hooks.answered(exchange, head),
    passing: (exchange, bytes, offset) => book.hooks.passing(exchange, bytes, offset),
    ended: (exchange) => book.hooks.ended(exchange),
  });
  return {
    host: proxy.host,
    port: proxy.port,
    [Symbol.asyncDispose]: () => proxy[Symbol.asyncDispose](),
    start(begin = performance.now()) {
      book = new TrafficBook(begin);
    },
    read: () => book.read(),
  };
}

/** One request, and what was sent of the blob that it asked for. */
interface Metered {
  request: MeteredRequest;
  digest: string | undefined;
  pieces: TrafficPiece[];
}

/** What belongs to one measurement. A request that began before it is not in it. */
class TrafficBook {
  readonly #begin: number;
  readonly #metered = new Map<Exchange, Metered>();

  constructor(begin: number) {
    this.#begin = begin;
  }

  readonly hooks: Required<ProxyHooks> = {
    before: (exchange) => {
      const startMs = this.#now();
      const request = { ...exchange, status: 0, bytes: 0, startMs, endMs: startMs };
      this.#metered.set(exchange, { request, digest: blobDigest(exchange), pieces: [] });
      return Promise.resolve();
    },
    answered: (exchange, { status }) => {
      const metered = this.#metered.get(exchange);
      if (metered !== undefined) metered.request.status = status;
    },
    passing: (exchange, bytes, offset) => {
      const metered = this.#metered.get(exchange);
      if (metered === undefined) return;
      metered.request.bytes += bytes.length;
      metered.request.endMs = this.#now();
      if (metered.request.status < 300) this.#note(metered, offset, bytes.length);
    },
    ended: (exchange) => {
      const metered = this.#metered.get(exchange);
      if (metered !== undefined) metered.request.endMs = this.#now();
    },
  };

  read(): TrafficLog {
    const all = [...this.#metered.values()];
    const log = all.map(({ request }) => ({ ...request }));
    const pieces = all.flatMap((one) => one.pieces.map((piece) => ({ ...piece })));
    return {
      requests: log.length,
      bytes: log.reduce((sum, { bytes }) => sum + bytes, 0),
      pieces: pieces.toSorted((a, b) => a.startMs - b.startMs),
      log,
    };
  }

  /** Adds to the last piece, or begins another. */
  #note({ digest, pieces }: Metered, offset: number, length: number): void {
    if (digest === undefined) return;
    const now = this.#now();
    const last = pieces.at(-1);
    if (last === undefined || now - last.startMs > PIECE_MS || last.length >= PIECE_BYTES) {
      pieces.push({ digest, offset, length, startMs: last?.endMs ?? now, endMs: now });
    } else {
      last.length += length;
      last.endMs = now;
    }
  }

  #now(): number {
    return performance.now() - this.#begin;
  }
}

/** Of the blob that is asked for; manifests and listings have none. */
function blobDigest({ method, url }: Exchange): string | undefined {
  return method === 'GET'
    ? /^\/v2\/.+\/blobs\/(sha(?:256|512):[0-9a-f]+)(?:\?|$)/.exec(url)?.[1]
    : undefined;
}

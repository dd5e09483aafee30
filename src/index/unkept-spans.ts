/**
 * Spans that the disk did not take, because it is full or cannot be written: in memory for those that wait
 * for them. They are few, and the least lately used go first; who reads later fetches them anew.
 */

import type { Digest } from '../common/digest.js';
import { errorMessage } from '../common/errors.js';
import { type Logger, silentLogger } from '../common/log.js';

/** Bytes in memory, for all layers together. */
const LIMIT = 64 << 20;
/** How long the disk must have refused nothing before the log says that it is well again, in ms. */
const QUIET_TIME = 10_000;

export interface UnkeptSpan {
  number: number;
  tarOffset: number;
  bytes: Buffer;
}

export class UnkeptSpans {
  readonly #log: Logger;
  readonly #limit: number;
  /** Least lately used first. */
  readonly #spans = new Map<string, UnkeptSpan>();
  #bytes = 0;
  /** Whether the log has been told. */
  #refused = false;
  #lastRefusal = 0;

  constructor(log: Logger = silentLogger, limit = LIMIT) {
    this.#log = log;
    this.#limit = limit;
  }

  /** @param because what the disk said */
  add(layer: Digest, span: UnkeptSpan, because: unknown): void {
    this.#remove(keyOf(layer, span.number));
    this.#spans.set(keyOf(layer, span.number), span);
    this.#bytes += span.bytes.length;
    for (const key of this.#spans.keys()) {
      if (this.#bytes <= this.#limit || this.#spans.size === 1) break;
      this.#remove(key);
    }
    this.#lastRefusal = performance.now();
    if (this.#refused) return;
    this.#refused = true;
    const message = `what is read is not kept on the disk any more: ${errorMessage(because)}`;
    this.#log.error({ layer, span: span.number }, message);
  }

  get(layer: Digest, number: number): UnkeptSpan | undefined {
    const key = keyOf(layer, number);
    const span = this.#spans.get(key);
    if (span === undefined) return undefined;
    this.#spans.delete(key);
    this.#spans.set(key, span);
    return span;
  }

  /** The disk has taken it. */
  kept(layer: Digest, number: number): void {
    if (this.#spans.size > 0) this.#remove(keyOf(layer, number));
    if (!this.#refused || performance.now() - this.#lastRefusal < QUIET_TIME) return;
    this.#refused = false;
    this.#log.info({ layer, span: number }, 'what is read is kept on the disk again');
  }

  #remove(key: string): void {
    const span = this.#spans.get(key);
    if (span === undefined) return;
    this.#spans.delete(key);
    this.#bytes -= span.bytes.length;
  }
}

function keyOf(layer: Digest, number: number): string {
  return `${layer} ${number}`;
}

import type { Miss } from './missed-read.js';

/** How long spans that ran out of time fail at once, in ms. */
const memory = 1000;
/** Spans remembered at most. */
const limit = 4096;

/** Spans that lately ran out of time. */
export class RecentFailures {
  readonly #until = new Map<string, number>();
  readonly #now: () => number;

  /** @param now a clock in ms that never goes back */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  add(miss: Miss): void {
    for (const key of keys(miss)) {
      if (this.#until.size < limit) this.#until.set(key, this.#now() + memory);
    }
  }

  /** Whether any span of `miss` failed within the last second. */
  includes(miss: Miss): boolean {
    if (this.#until.size === 0) return false;
    this.#forget();
    return keys(miss).some((key) => this.#until.has(key));
  }

  #forget(): void {
    const now = this.#now();
    for (const [key, until] of this.#until) if (until <= now) this.#until.delete(key);
  }
}

function keys({ layer, firstSpan, lastSpan }: Miss): string[] {
  const spans = Array.from({ length: lastSpan - firstSpan + 1 }, (_, n) => firstSpan + n);
  return spans.map((span) => `${layer}:${span}`);
}

/** Which bytes of something are there: ranges in order, none touching the next. */

/** Bytes from `start` to before `end`. */
export interface ByteRange {
  start: number;
  end: number;
}

export class RangeSet {
  readonly #ranges: ByteRange[] = [];
  #size = 0;

  /** Bytes in all. */
  get size(): number {
    return this.#size;
  }

  get ranges(): readonly Readonly<ByteRange>[] {
    return this.#ranges;
  }

  add({ start, end }: ByteRange): void {
    if (start >= end) return;
    // The first that touches the new one, and the first after it that does not.
    const from = this.#firstEndingAt(start);
    let to = from;
    const merged = { start, end };
    for (; (this.#ranges[to]?.start ?? Infinity) <= end; to += 1) {
      const { start: s, end: e } = this.#ranges[to] ?? merged;
      merged.start = Math.min(merged.start, s);
      merged.end = Math.max(merged.end, e);
      this.#size -= e - s;
    }
    this.#ranges.splice(from, to - from, merged);
    this.#size += merged.end - merged.start;
  }

  clear(): void {
    this.#ranges.length = 0;
    this.#size = 0;
  }

  /** What of `within` is not there, in order. */
  missing(within: ByteRange): ByteRange[] {
    const holes: ByteRange[] = [];
    let { start } = within;
    for (let at = this.#firstEndingAt(start); start < within.end; at += 1) {
      const next = this.#ranges[at] ?? { start: Infinity, end: Infinity };
      const end = Math.min(next.start, within.end);
      if (start < end) holes.push({ start, end });
      start = Math.max(start, next.end);
    }
    return holes;
  }

  has(range: ByteRange): boolean {
    return this.missing(range).length === 0;
  }

  #firstEndingAt(position: number): number {
    let low = 0;
    let high = this.#ranges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#ranges[middle]?.end ?? 0) < position) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

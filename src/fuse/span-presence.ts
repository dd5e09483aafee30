/** Which spans a read needs and does not have, and which it has used. */

import type { Segment, SpanRange } from '../index/layer-model.js';

/** What of a LayerIndex tells where spans lie. */
export interface SpanLocator {
  spanAt(tarOffset: number): number;
}

/** From the first to the last absent span under `segments`; `undefined` where all are present. */
export function absentSpans(
  spans: SpanLocator,
  presence: Uint8Array,
  segments: readonly Segment[],
): SpanRange | undefined {
  let first = -1;
  let last = -1;
  for (const segment of segments) {
    if (segment.kind === 'hole' || segment.length === 0) continue;
    const end = spans.spanAt(segment.tarOffset + segment.length - 1);
    for (let span = spans.spanAt(segment.tarOffset); span <= end; span += 1) {
      if (Atomics.load(presence, span) !== 0) continue;
      if (first < 0) first = span;
      last = span;
    }
  }
  return first < 0 ? undefined : { first, last };
}

/** Notes that the bytes under `segments` are read now. */
export function noteUse(spans: SpanLocator, used: Uint32Array, segments: readonly Segment[]): void {
  const now = Math.floor(Date.now() / 1000);
  for (const segment of segments) {
    if (segment.kind === 'hole' || segment.length === 0) continue;
    const end = spans.spanAt(segment.tarOffset + segment.length - 1);
    for (let span = spans.spanAt(segment.tarOffset); span <= end; span += 1) used[span] = now;
  }
}

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
  eachSpan(spans, segments, (span) => {
    if (Atomics.load(presence, span) !== 0) return;
    if (first < 0) first = span;
    last = span;
  });
  return first < 0 ? undefined : { first, last };
}

/** The spans that hold the bytes under `segments`, in their order; one may come again. */
export function spansUnder(spans: SpanLocator, segments: readonly Segment[]): number[] {
  const found: number[] = [];
  eachSpan(spans, segments, (span) => found.push(span));
  return found;
}

/** Notes that the bytes under `segments` are read now. */
export function noteUse(spans: SpanLocator, used: Uint32Array, segments: readonly Segment[]): void {
  const now = Math.floor(Date.now() / 1000);
  eachSpan(spans, segments, (span) => (used[span] = now));
}

function eachSpan(
  spans: SpanLocator,
  segments: readonly Segment[],
  visit: (span: number) => void,
): void {
  for (const segment of segments) {
    if (segment.kind === 'hole' || segment.length === 0) continue;
    const end = spans.spanAt(segment.tarOffset + segment.length - 1);
    for (let span = spans.spanAt(segment.tarOffset); span <= end; span += 1) visit(span);
  }
}

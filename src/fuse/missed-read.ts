/** Reads that cannot be answered yet, and what they ask for. */

import type { Segment } from '../index/layer-model.js';
import type { UnkeptSpan } from '../index/unkept-spans.js';

/** Spans `firstSpan` to `lastSpan` (inclusive) of a layer that a read needs and of which some are absent. */
export interface Miss {
  layer: number;
  firstSpan: number;
  lastSpan: number;
}

/** Makes the spans present, or throws; `signal` is aborted when no read waits for it any more. */
export type FetchSpans = (miss: Miss, signal: AbortSignal) => Promise<void>;

/** What of a miss was fetched and is not in the cache file: the disk did not take it. */
export type UnkeptOf = (miss: Miss) => readonly UnkeptSpan[];

/** A READ that waits until spans are present. */
export interface MissedRead extends Miss {
  /** The request's `unique`, to answer with. */
  uniqueLow: number;
  uniqueHigh: number;
  /** Thread that reads; 0 where unknown. */
  pid: number;
  ino: number;
  /** What the answer is made of, in order. */
  segments: Segment[];
  /** The spans under them, those included that were there: they may go while others are waited for. */
  spans: number[];
}

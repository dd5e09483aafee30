import type { BlobSource } from '../common/blob-source.js';
import type { Logger } from '../common/log.js';
import type { LayerIndex } from './layer-index.js';
import type { SpanCache } from './span-cache.js';

export interface SpanReaderOptions {
  index: LayerIndex;
  cache: SpanCache;
  source: BlobSource | (() => Promise<BlobSource>);
  log?: Logger;
}

export declare class SpanReader {
  constructor(options: SpanReaderOptions);
  readonly fetchedBytes: number;
  ensure(first: number, last: number, signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

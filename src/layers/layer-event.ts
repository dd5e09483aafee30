import type { Digest } from '../common/digest.js';

/** What is being done about a layer, for whoever shows progress. */
export interface LayerEvent {
  digest: Digest;
  /**
   * `waiting`: not begun; `index`: a published index or a table of contents arrives; `streaming`: the whole
   * blob does; `verifying`: it does to be compared with its index.
   */
  status: 'waiting' | 'index' | 'streaming' | 'verifying' | 'ready';
  /** Bytes of the blob that have arrived, out of `total`. */
  done: number;
  total: number;
}

export type LayerListener = (event: LayerEvent) => void;

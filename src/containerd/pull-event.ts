import type { Digest } from '../common/digest.js';

/** What is being done about a blob, for whoever shows progress. */
export interface PullEvent {
  kind: 'index' | 'manifest' | 'config' | 'layer';
  digest: Digest;
  status:
    | 'waiting'
    | 'preparing'
    | 'downloading'
    | 'downloaded'
    | 'unpacking'
    | 'prepared'
    | 'exists'
    | 'done';
  /** Bytes that arrived in containerd, out of `total`. */
  done: number;
  total: number;
}

export type PullListener = (event: PullEvent) => void;

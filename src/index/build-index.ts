import type { ExpectedLayer, LayerInfo } from './layer-index.js';

export interface BuildOptions {
  /** The index file; appears whole or not at all. */
  output: string;
  /** Least uncompressed bytes between two checkpoints. */
  spanSize?: number;
  expected?: ExpectedLayer;
  signal?: AbortSignal;
}

export declare function buildIndex(
  input: AsyncIterable<Uint8Array>,
  options: BuildOptions,
): Promise<LayerInfo>;

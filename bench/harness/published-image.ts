import type { BenchLayer } from './result.js';

/** An image in the benchmark's registry. */
export interface PublishedImage {
  name: string;
  /** `REPOSITORY:TAG` */
  path: string;
  digest: string;
  /** Digest of its configuration. */
  config: string;
  /** Bottom first. */
  layers: readonly BenchLayer[];
}

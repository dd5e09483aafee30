/** What every scenario works with. */

import type { BenchProgress } from '../report/progress.js';
import type { BenchRegistry } from './bench-registry.js';
import type { ProgramFinder } from './program-finder.js';

export interface Bench {
  signal: AbortSignal;
  /** For all that goes at the end. */
  folder: string;
  /** For what is made once: images, conversions, programs. */
  cache: string;
  registry: BenchRegistry;
  programs: ProgramFinder;
  progress: BenchProgress;
}

/** What every scenario works with. */

import type { BenchProgress } from '../report/progress.js';
import type { BenchRegistry } from './bench-registry.js';
import type { ProgramFinder } from './program-finder.js';
import type { ResultBook } from './result-book.js';
import type { RoundsOptions } from './rounds.js';

export interface Bench extends Pick<
  RoundsOptions<never, never>,
  'rounds' | 'signal' | 'turnTimeout'
> {
  /** For all that goes at the end. */
  folder: string;
  /** For what is made once: images, conversions, programs. */
  cache: string;
  registry: BenchRegistry;
  programs: ProgramFinder;
  progress: BenchProgress;
  /** Takes what is found, as it is found. */
  book: ResultBook;
}

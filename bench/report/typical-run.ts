/** The run that is shown where one has to stand for all: the one in the middle. */

import { type MeasuredRun, type Run, isMeasured } from '../harness/result.js';

/** Of an even count, the faster of the two. @returns `undefined` where none was measured */
export function typicalRun(runs: readonly Run[]): MeasuredRun | undefined {
  const measured = runs.filter(isMeasured).toSorted((a, b) => a.ms - b.ms);
  return measured[Math.floor((measured.length - 1) / 2)];
}

/** `bin/siphon` of this tree, from wherever this file runs: as its source in tests, compiled in benchmarks. */

import { createRequire } from 'node:module';
import { join } from 'node:path';

/** Its path; run it with `process.execPath`. */
export const siphonProgram = join(
  createRequire(import.meta.url).resolve('#src/cli/main.js'),
  '../../../bin/siphon',
);

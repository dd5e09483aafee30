/**
 * `npm run fuzz -- [--seconds N] [--seed N]`: a long run of the fuzzer, N seconds (default 100) for each
 * parser. The seed is printed; with it, the same inputs come again.
 */

import { parseArgs } from 'node:util';
import { build } from './lib/build.mjs';
import { show } from './lib/run.mjs';
import { tool } from './lib/tree.mjs';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '100' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 32) },
  },
});
await build();
const env = {
  ...process.env,
  SIPHON_FUZZ_SECONDS: values.seconds,
  SIPHON_FUZZ_SEED: values.seed,
};
process.exit(await show(tool('vitest'), ['run', 'test/index/fuzz.test.ts'], { env }));

/**
 * A short run of the fuzzer with a new seed each time, which it prints where it finds something.
 * `npm run fuzz` makes a long one.
 */

import { describe, expect, test } from 'vitest';
import { fuzz } from './support/fuzz.js';
import { FUZZ_TARGETS, fuzzTarget } from './support/fuzz-targets.js';
import { temporaryFolder } from './support/layers.js';

const SEED = Number(process.env['SIPHON_FUZZ_SEED'] ?? Date.now() % 2 ** 32);
/** Milliseconds for each parser. */
const BUDGET = Number(process.env['SIPHON_FUZZ_SECONDS'] ?? 1) * 1000;

describe(`parsers of damaged input, seed ${SEED}`, () => {
  test.each(FUZZ_TARGETS)(
    '%s',
    (name) => {
      const target = fuzzTarget(name, temporaryFolder());
      const count = fuzz(target, { seed: SEED, budget: BUDGET });
      if (BUDGET > 1000) console.log(`${name}: ${count} inputs, seed ${SEED}`);
      expect(count).toBeGreaterThan(0);
    },
    BUDGET + 60_000,
  );
});

/**
 * `npm test`: installs what is missing, builds, runs the tests. The last line is always
 * `N passed, N failed` (and `, N skipped` where there are). Arguments go to vitest.
 */

import { build } from './lib/build.mjs';
import { explain } from './lib/failure.mjs';
import { setup } from './lib/setup.mjs';
import { runVitest } from './lib/vitest-run.mjs';

/** @returns {Promise<import('./lib/vitest-run.mjs').Counts>} */
async function run() {
  try {
    await setup('test');
    await build();
    return await runVitest(process.argv.slice(2));
  } catch (error) {
    console.log(explain(error));
    return { passed: 0, failed: 1, skipped: 0 };
  }
}

const { passed, failed, skipped } = await run();
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
process.exit(failed > 0 || passed === 0 ? 1 : 0);

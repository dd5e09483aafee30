/** `npm run bench`: installs what is missing, builds, and runs `siphon bench` with the arguments given. */

import { build } from './lib/build.mjs';
import { script } from './lib/failure.mjs';
import { show } from './lib/run.mjs';
import { setup } from './lib/setup.mjs';
import { inTree } from './lib/tree.mjs';

await script(async () => {
  await setup('bench');
  await build();
  // Ctrl-C reaches the benchmark as well, which then cleans up; this process waits for it.
  process.on('SIGINT', () => {});
  return show(process.execPath, [inTree('bin/siphon'), 'bench', ...process.argv.slice(2)]);
});

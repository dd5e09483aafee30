/** `npm run bench:gate`: installs what is missing, builds, and looks whether all bounds are kept. */

import { build } from './lib/build.mjs';
import { script } from './lib/failure.mjs';
import { show } from './lib/run.mjs';
import { setup } from './lib/setup.mjs';
import { inTree } from './lib/tree.mjs';

await script(async () => {
  await setup('bench');
  await build();
  process.on('SIGINT', () => {});
  return show(process.execPath, [inTree('dist/bench/gate.js'), ...process.argv.slice(2)]);
});

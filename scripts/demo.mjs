/** `npm run demo`: installs what is missing, builds, and runs the demo. */

import { build } from './lib/build.mjs';
import { script } from './lib/failure.mjs';
import { show } from './lib/run.mjs';
import { setup } from './lib/setup.mjs';
import { inTree } from './lib/tree.mjs';

await script(async () => {
  await setup('demo');
  await build();
  // Ctrl-C reaches the demo as well, which then cleans up; this process waits for it.
  process.on('SIGINT', () => {});
  return show(process.execPath, ['--enable-source-maps', inTree('dist/demo/main.js')]);
});

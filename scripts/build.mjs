/** `npm run build`: compiles into `dist` what changed since the last build. */

import { build } from './lib/build.mjs';
import { script } from './lib/failure.mjs';
import { setup } from './lib/setup.mjs';

await script(async () => {
  await setup('build');
  await build();
});

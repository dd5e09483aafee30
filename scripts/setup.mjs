/** `npm run setup [build|demo|test|bench]`: installs what that purpose needs; `test` by default. */

import { Failure, script } from './lib/failure.mjs';
import { setup } from './lib/setup.mjs';

await script(async () => {
  const purpose = process.argv[2] ?? 'test';
  if (purpose !== 'build' && purpose !== 'demo' && purpose !== 'test' && purpose !== 'bench') {
    throw new Failure(`Cannot set up "${purpose}": expected build, demo, test or bench`);
  }
  await setup(purpose);
});

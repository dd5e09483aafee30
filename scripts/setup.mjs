/** `npm run setup [build|demo|test]`: installs what that purpose needs; `test` by default. */

import { Failure, script } from './lib/failure.mjs';
import { setup } from './lib/setup.mjs';

await script(async () => {
  const purpose = process.argv[2] ?? 'test';
  if (purpose !== 'build' && purpose !== 'demo' && purpose !== 'test') {
    throw new Failure(`Cannot set up "${purpose}": expected build, demo or test`);
  }
  await setup(purpose);
});

/** `npm run demo`, after the build. Ctrl-C ends it early and leaves nothing behind either. */

import { runDemo } from './run-demo.js';
import { Screen } from './screen.js';

class Interrupted extends Error {
  override readonly message = 'Interrupted; everything is cleaned up.';
}

const interruption = new AbortController();
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(name, () => interruption.abort(new Interrupted()));
}
try {
  await runDemo(new Screen(), interruption.signal);
} catch (error) {
  console.error(error instanceof Error ? `\n${error.message}` : error);
  process.exitCode = interruption.signal.aborted ? 130 : 1;
}

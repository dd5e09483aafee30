/** `npm run demo`, after the build. Ctrl-C ends it early and leaves nothing behind either. */

import { runDemo } from './run-demo.js';
import { Screen } from './screen.js';

const interruption = new AbortController();
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(name, () => interruption.abort());
}
try {
  await runDemo(new Screen(), interruption.signal);
} catch (error) {
  console.error(`\n${explain(error)}`);
  process.exitCode = interruption.signal.aborted ? 130 : 1;
}

function explain(error: unknown): string {
  if (interruption.signal.aborted) return 'Interrupted; everything is cleaned up.';
  return error instanceof Error ? error.message : String(error);
}

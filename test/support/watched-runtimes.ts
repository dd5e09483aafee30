/**
 * Runtimes that stand before the machine's own on PATH, and keep a copy of every config.json that siphon has run:
 * whatever a test runs, by whichever command, is held to the runtime-spec.
 */

import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findRuntime } from '#src/exec/find-runtime.js';

export interface WatchedRuntimes extends AsyncDisposable {
  /** For PATH. */
  readonly folder: string;
  /** What is wrong in the bundles that were run since; one line each. */
  failures(): Promise<string[]>;
}

/** @param find the runtime itself, by its name */
export async function watchRuntimes(find = findRuntime): Promise<WatchedRuntimes> {
  const top = await mkdtemp(join(tmpdir(), 'siphon-runtimes-'));
  const [folder, specs] = [join(top, 'bin'), join(top, 'specs')];
  await Promise.all([folder, specs].map((path) => mkdir(path)));
  for (const name of ['runc', 'crun']) {
    const runtime = await find(name).catch(() => undefined);
    if (runtime === undefined) continue;
    await writeFile(join(folder, name), watching(runtime, specs), { mode: 0o755 });
  }
  return {
    folder,
    failures: async () => {
      const names = (await readdir(specs)).filter((name) => !name.endsWith(unfinished));
      if (names.length === 0) return [];
      const { Ajv } = await import('ajv');
      const { runtimeSpecSchema } = await import('../exec/runtime-spec-schema.js');
      const validate = new Ajv({ allErrors: true }).compile(runtimeSpecSchema);
      const texts = await Promise.all(names.map((name) => readFile(join(specs, name), 'utf8')));
      return texts.flatMap((text) =>
        validate(JSON.parse(text)) ? [] : [`${JSON.stringify(validate.errors)} of ${text}`],
      );
    },
    [Symbol.asyncDispose]: () => rm(top, { recursive: true, force: true, maxRetries: 5 }),
  };
}

/** Ends the name of a copy that is being written: whoever writes it may be killed meanwhile. */
const unfinished = '.new';

/** Of commands of others, `create` for instance, nothing is kept. */
function watching(runtime: string, specs: string): string {
  return `#!/bin/sh
before= command= bundle=
for word do
  [ "$before" = --bundle ] && [ -z "$bundle" ] && bundle=$word
  [ "$word" = run ] && [ -z "$bundle" ] && command=run
  before=$word
done
if [ "$command" = run ] && [ -n "$bundle" ] && copy=$(mktemp ${specs}/XXXXXXXX${unfinished}); then
  cat "$bundle/config.json" >"$copy" && mv "$copy" "\${copy%${unfinished}}"
fi
exec ${runtime} "$@"
`;
}

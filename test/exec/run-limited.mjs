// Runs containers with a limit of memory, one after another, and prints how each ended: options are a JSON file.
import { runContainer } from '#src/exec/run-container.js';
import { silentLogger } from '#src/common/log.js';
import { readFile } from 'node:fs/promises';

const runs =
  /** @type {{ id: string, directory: string, rootfs: string, runtime: string, args: string[] }[]} */ (
    JSON.parse(await readFile(process.argv[2] ?? '', 'utf8'))
  );
for (const one of runs) {
  const end = await runContainer({
    ...one,
    config: {},
    memory: 16 * 1024 * 1024,
    cpus: 0.5,
    signal: new AbortController().signal,
    log: silentLogger,
  });
  console.log(JSON.stringify(end));
}

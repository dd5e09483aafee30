// Runs a container on this process's terminal: the options are a JSON file, the exit code is its own.
import { runContainer } from '#src/exec/run-container.js';
import { silentLogger } from '#src/common/log.js';
import { readFile } from 'node:fs/promises';

const options =
  /** @type {{ id: string, directory: string, rootfs: string, config: {}, args: string[] }} */ (
    JSON.parse(await readFile(process.argv[2] ?? '', 'utf8'))
  );
const end = await runContainer({
  ...options,
  terminal: true,
  signal: new AbortController().signal,
  log: silentLogger,
});
process.exitCode = end.exitCode;

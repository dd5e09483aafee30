/** The output of a container in the foreground: this process's own, kept in the container's log besides. */

import { PassThrough, type Writable } from 'node:stream';
import { errorMessage } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import type { ContainerConsole } from './container-console.js';
import type { ContainerHome } from './container-home.js';
import { ContainerLog, type OutputName } from './container-log.js';

export async function openKeptOutput(
  home: ContainerHome,
  log: Logger,
): Promise<Pick<ContainerConsole, 'stdio' | 'close'>> {
  const kept = await ContainerLog.open(home.logFile);
  const keep = (name: OutputName, chunk: Buffer): Promise<void> =>
    kept.write(name, chunk).catch((error: unknown) => {
      log.error({ id: home.id, error: errorMessage(error) }, 'output is not kept');
    });
  const sinks = { stdout: new PassThrough(), stderr: new PassThrough() };
  const drained = Promise.all([
    drain(sinks.stdout, process.stdout, (chunk) => keep('stdout', chunk)),
    drain(sinks.stderr, process.stderr, (chunk) => keep('stderr', chunk)),
  ]);
  return {
    stdio: sinks,
    async close() {
      for (const sink of Object.values(sinks)) sink.end();
      await drained;
      await kept.close();
    },
  };
}

/** Once nobody reads `target` any more, the container's next write fails, as it would without us. */
async function drain(
  source: PassThrough,
  target: Writable,
  keep: (chunk: Buffer) => Promise<void>,
): Promise<void> {
  target.on('error', () => source.destroy());
  try {
    for await (const chunk of source) {
      const bytes = chunk as Buffer; // of a stream without encoding
      await keep(bytes);
      await handOn(target, bytes);
    }
  } catch {
    // Whoever read it has gone.
  }
}

function handOn(target: Writable, chunk: Buffer): Promise<void> {
  return new Promise((done, fail) => {
    target.write(chunk, (error) => (error ? fail(error) : done()));
  });
}

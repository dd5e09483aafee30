/** The output of a container in the foreground: this process's own, kept in the container's log besides. */

import type { Writable } from 'node:stream';
import { systemCode } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import { makePatient, takesMore } from '../common/patient-stream.js';
import type { ContainerHome } from './container-home.js';
import { ContainerOutput, endOf } from './container-output.js';
import { outputError } from './output-error.js';
import type { RunContainerOptions } from './run-options.js';

export interface KeptOutput extends Required<Pick<RunContainerOptions, 'stdio'>> {
  /** As of ContainerConsole. */
  close(): Promise<void>;
  /** @throws SiphonError where what it printed could not be written, except that nobody read it any more */
  leave(): void;
}

export async function openKeptOutput(home: ContainerHome, log: Logger): Promise<KeptOutput> {
  const { stdout, stderr } = process;
  const targets = { stdout, stderr };
  const output = await ContainerOutput.open(home, log, {
    hand: (name, data) => void (targets[name].destroyed || targets[name].write(data)),
    behind: () => whoIsBehind([stdout, stderr]),
  });
  const sinks = { stdout: output.sink('stdout'), stderr: output.sink('stderr') };
  let failure: unknown;
  const watch = (target: Writable, sink: Writable): void => {
    makePatient(target);
    target.on('error', (error) => {
      if (systemCode(error) !== 'EPIPE') failure ??= error;
      // The container's next write fails, as it would without us.
      sink.destroy();
    });
  };
  watch(stdout, sinks.stdout);
  watch(stderr, sinks.stderr);
  let closed: Promise<void> | undefined;
  return {
    stdio: sinks,
    close: () => (closed ??= endOf(Object.values(sinks)).then(() => output.close())),
    leave() {
      if (failure !== undefined) throw outputError(home.id, failure);
    },
  };
}

function whoIsBehind(targets: readonly Writable[]): Promise<void> | undefined {
  const behind = targets.find((target) => target.writableNeedDrain && !target.destroyed);
  return behind === undefined ? undefined : takesMore(behind);
}

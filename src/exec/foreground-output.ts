/** The output of a container in the foreground: this process's own, kept in the container's log besides where it stays. */

import type { Writable } from 'node:stream';
import { systemCode } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import { ownOutput } from '../common/own-output.js';
import { takesMore } from '../common/patient-stream.js';
import type { ContainerHome } from './container-home.js';
import { ContainerOutput, endOf } from './container-output.js';
import { outputError } from './output-error.js';
import type { RunContainerOptions } from './run-options.js';

export interface ForegroundOutput extends Required<Pick<RunContainerOptions, 'stdio'>> {
  /** As of ContainerConsole. */
  close(): Promise<void>;
  /** @throws SiphonError where what it printed could not be written, except that nobody read it any more */
  leave(): void;
}

/** @param options.isKept as of ContainerOutput */
export async function openForegroundOutput(
  home: ContainerHome,
  { isKept, log }: { isKept: boolean; log: Logger },
): Promise<ForegroundOutput> {
  const targets = { stdout: ownOutput(1), stderr: ownOutput(2) };
  const output = await ContainerOutput.open(home, {
    isKept,
    log,
    onlooker: {
      hand: (name, data) => void (targets[name].destroyed || targets[name].write(data)),
      behind: () => whoIsBehind(Object.values(targets)),
    },
  });
  const sinks = { stdout: output.sink('stdout'), stderr: output.sink('stderr') };
  let failure: unknown;
  for (const name of ['stdout', 'stderr'] as const) {
    targets[name].on('error', (error) => {
      if (systemCode(error) !== 'EPIPE') failure ??= error;
      // The container's next write fails, as it would without us.
      sinks[name].destroy();
    });
  }
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

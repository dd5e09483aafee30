/** Commands that do one thing to each container that is named. */

import { Command, InvalidArgumentError } from 'commander';
import type { ContainerHome } from '../../exec/container-home.js';
import { describeFailure, exitCodeOf } from '../exit-status.js';
import { openHome } from '../containers/keep.js';
import { requireRoot } from '../settings.js';

/** `siphon kill NAME...` */
export function killCommand(): Command {
  return named('kill', 'send a signal to the first process of a container')
    .option('-s, --signal <signal>', 'name or number', 'SIGKILL')
    .action((ids: string[], { signal }: { signal: string }, command: Command) =>
      forEach(ids, command, async (home) => {
        const { killContainer } = await control();
        await killContainer(home, signal);
      }),
    );
}

/** `siphon stop NAME...` */
export function stopCommand(): Command {
  return named('stop', "ask a container to end, by its image's signal; kill it if it does not")
    .option('--time <seconds>', 'until it is killed', parseSeconds, 10)
    .action((ids: string[], { time }: { time: number }, command: Command) =>
      forEach(ids, command, async (home) => {
        const { stopContainer } = await control();
        await stopContainer(home, time * 1000);
      }),
    );
}

/** `siphon pause NAME...` */
export function pauseCommand(): Command {
  return named('pause', 'stop all processes of a container where they are').action(
    (ids: string[], _options: object, command: Command) =>
      forEach(ids, command, async (home) => (await control()).pauseContainer(home)),
  );
}

/** `siphon resume NAME...` */
export function resumeCommand(): Command {
  return named('resume', 'let a paused container go on').action(
    (ids: string[], _options: object, command: Command) =>
      forEach(ids, command, async (home) => (await control()).resumeContainer(home)),
  );
}

/** `siphon wait NAME...` */
export function waitCommand(): Command {
  return named('wait', 'wait until a container has ended, and print its exit code').action(
    (ids: string[], _options: object, command: Command) =>
      forEach(ids, command, async (home) => {
        const { waitForContainer } = await control();
        return String(await waitForContainer(home, new AbortController().signal));
      }),
  );
}

/** `siphon rm NAME...` */
export function rmCommand(): Command {
  return named('rm', 'remove a container with what it has written')
    .option('-f, --force', 'also one that runs: it is killed')
    .action((ids: string[], { force = false }: { force?: boolean }, command: Command) =>
      forEach(ids, command, async (home) => {
        const { removeContainer } = await control();
        const { clearContainerRootfs: clear } = await import('../../layers/container-rootfs.js');
        await removeContainer(home, { force, rootfs: { clear } });
      }),
    );
}

function named(name: string, description: string): Command {
  return new Command(name).description(description).argument('<name...>');
}

const control = () => import('../../exec/control-container.js');

/**
 * One after another; prints what `act` returns, else the name. What fails is told, and keeps none of the
 * others from its turn.
 */
async function forEach(
  ids: readonly string[],
  command: Command,
  act: (home: ContainerHome) => Promise<string | void>,
): Promise<void> {
  requireRoot(`${command.name()} a container`);
  for (const id of ids) {
    try {
      process.stdout.write(`${(await act(await openHome(id, command))) ?? id}\n`);
    } catch (error) {
      process.stderr.write(describeFailure(error));
      process.exitCode = exitCodeOf(error);
    }
  }
}

function parseSeconds(text: string): number {
  if (!/^\d+(?:\.\d+)?$/.test(text)) throw new InvalidArgumentError('expected a number of seconds');
  return Number(text);
}

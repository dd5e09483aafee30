import { Command } from 'commander';
import { keepAttached, keepHere, keepInBackground } from '../containers/keep.js';
import {
  type ContainerOptions,
  addContainerOptions,
  containerRecord,
} from '../containers/container-options.js';
import { onInterrupt } from '../interruption.js';
import { requireRoot, settingsOf } from '../settings.js';
import { checkIsTerminal } from '../containers/terminal.js';

interface RunOptions extends ContainerOptions {
  detach?: boolean;
  verbose?: boolean;
}

/** `siphon run SOURCE [CMD...]` */
export function runCommand(): Command {
  return addContainerOptions(new Command('run'))
    .description("run an image's program, or another one in it, before the image is here")
    .argument('<source>', 'as of siphon mount')
    .argument('[cmd...]', "instead of the image's Cmd")
    .option('-d, --detach', 'give the prompt back once the program runs, and keep what it prints')
    .option('--verbose', 'say how the root file system was made ready, and why so')
    .passThroughOptions()
    .action(async (source: string, args: string[], options: RunOptions, command: Command) => {
      requireRoot('run a container');
      await run({ source, args, options }, command);
    });
}

/** `siphon create SOURCE [CMD...]` */
export function createCommand(): Command {
  return addContainerOptions(new Command('create'))
    .description('note a container, for siphon start')
    .argument('<source>', 'as of siphon mount')
    .argument('[cmd...]', "instead of the image's Cmd")
    .passThroughOptions()
    .action(async (source: string, args: string[], options: ContainerOptions, command: Command) => {
      requireRoot('create a container');
      const { ContainerHome } = await import('../../exec/container-home.js');
      const settings = settingsOf(command);
      const record = await containerRecord({ source, args, options, detached: true }, settings);
      const home = await ContainerHome.create(settings.root, record);
      process.stdout.write(`${home.id}\n`);
    });
}

async function run(
  request: { source: string; args: string[]; options: RunOptions },
  command: Command,
): Promise<void> {
  const { detach = false, verbose = false, tty = false } = request.options;
  if (tty && !detach) checkIsTerminal('the container');
  // A terminal can be left, so what runs at one must be able to go on without it.
  const detached = detach || tty;
  const { ContainerHome } = await import('../../exec/container-home.js');
  const settings = settingsOf(command);
  const record = await containerRecord({ ...request, detached }, settings);
  const interrupted = onInterrupt();
  const home = await ContainerHome.create(settings.root, record);
  const how = { command, interrupted, removeFailed: true, verbose };
  if (detach) {
    await keepInBackground(home, how);
    process.stdout.write(`${home.id}\n`);
  } else if (tty) process.exitCode = (await keepAttached(home, how)) ?? 0;
  else process.exitCode = await keepHere(home, how);
}

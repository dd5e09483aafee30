import { Command } from 'commander';
import { keepAttached, keepHere, keepInBackground, openHome } from '../containers/keep.js';
import { onInterrupt } from '../interruption.js';
import { requireRoot } from '../settings.js';

/** `siphon start NAME` */
export function startCommand(): Command {
  return new Command('start')
    .description('start a container that was created, or that has ended')
    .argument('<name>')
    .option('-a, --attach', 'stay with it until its program ends')
    .action(async (id: string, options: { attach?: boolean }, command: Command) => {
      requireRoot('start a container');
      const home = await openHome(id, command);
      const how = { command, interrupted: onInterrupt(), removeFailed: false };
      if (!(await home.requireRecord()).detached) process.exitCode = await keepHere(home, how);
      else if (options.attach === true) process.exitCode = (await keepAttached(home, how)) ?? 0;
      else {
        await keepInBackground(home, how);
        process.stdout.write(`${id}\n`);
      }
    });
}

interface KeepFlags {
  removeFailed?: boolean;
  awaitAttach?: boolean;
}

/** `siphon keep-container NAME`: what keeps a detached container; nobody types it. */
export function keepContainerCommand(): Command {
  return new Command('keep-container')
    .argument('<name>')
    .option('--remove-failed')
    .option('--await-attach', 'the program begins when somebody is attached')
    .action(async (id: string, options: KeepFlags, command: Command) => {
      const { removeFailed = false, awaitAttach = false } = options;
      const interrupted = onInterrupt();
      const home = await openHome(id, command);
      await keepHere(home, { command, interrupted, removeFailed, awaitAttach });
    });
}

import { Command } from 'commander';
import { attachHere } from '../containers/attach.js';
import { keepHere, keepInBackground, openHome } from '../containers/keep.js';
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
      if ((await home.requireRecord()).detached) {
        await keepInBackground(home, command, { removeFailed: false });
        if (options.attach === true) process.exitCode = await attachHere(home);
        else process.stdout.write(`${id}\n`);
      } else {
        process.exitCode = await keepHere(home, { command, removeFailed: false });
      }
    });
}

/** `siphon keep-container NAME`: what keeps a detached container; nobody types it. */
export function keepContainerCommand(): Command {
  return new Command('keep-container')
    .argument('<name>')
    .option('--remove-failed')
    .action(async (id: string, options: { removeFailed?: boolean }, command: Command) => {
      const home = await openHome(id, command);
      const removeFailed = options.removeFailed === true;
      await keepHere(home, { command, removeFailed });
    });
}

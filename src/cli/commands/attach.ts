import { Command } from 'commander';
import { attachHere } from '../containers/attach.js';
import { openHome } from '../containers/keep.js';
import { requireRoot } from '../settings.js';

/** `siphon attach NAME` */
export function attachCommand(): Command {
  return new Command('attach')
    .description(
      'be at a detached container: its output here, input there; Ctrl-P Ctrl-Q leaves it',
    )
    .argument('<name>')
    .action(async (id: string, _options: object, command: Command) => {
      requireRoot('attach to a container');
      process.exitCode = (await attachHere(await openHome(id, command), false)) ?? 0;
    });
}

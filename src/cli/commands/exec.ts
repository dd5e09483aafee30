import { Command } from 'commander';
import { collect } from '../containers/collect.js';
import { openHome } from '../containers/keep.js';
import { terminalSize } from '../containers/terminal.js';
import { onImpatience } from '../interruption.js';
import { requireRoot } from '../settings.js';

interface Options {
  interactive?: boolean;
  tty?: boolean;
  detach?: boolean;
  env?: string[];
  user?: string;
  workdir?: string;
}

/** `siphon exec NAME CMD...` */
export function execCommand(): Command {
  return new Command('exec')
    .description('run one more program in a container')
    .argument('<name>')
    .argument('<cmd...>')
    .option('-i, --interactive', 'give it our input')
    .option('-t, --tty', 'give it a terminal')
    .option('-d, --detach', 'let it go on by itself; what it prints is lost')
    .option('-e, --env <name=value>', 'set a variable', collect())
    .option('-u, --user <user[:group]>', "names or numbers, instead of the container's")
    .option('-w, --workdir <path>', "instead of the container's")
    .passThroughOptions()
    .action(async (id: string, args: string[], options: Options, command: Command) => {
      requireRoot('run a command in a container');
      const { execInContainer } = await import('../../exec/exec-in-container.js');
      const { interactive = false, tty = false, detach = false, env = [], user, workdir } = options;
      const home = await openHome(id, command);
      using impatience = onImpatience();
      process.exitCode = await execInContainer(home, {
        args,
        interactive,
        terminal: tty,
        detach,
        terminalSize: terminalSize(),
        env,
        ...(user === undefined ? {} : { user }),
        ...(workdir === undefined ? {} : { workdir }),
      });
      if (impatience.signal.aborted) process.exit(); // with what nobody reads unwritten
    });
}

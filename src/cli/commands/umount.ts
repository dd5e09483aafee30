import { Command } from 'commander';
import { settingsOf } from '../settings.js';

/** `siphon umount DIR` */
export function umountCommand(): Command {
  return new Command('umount')
    .description('unmount what siphon mounted, and end its server')
    .argument('<dir>')
    .action(async (directory: string, _options: object, command: Command) => {
      const { unmountImage } = await import('../../layers/unmount-image.js');
      await unmountImage(settingsOf(command).root, directory);
    });
}

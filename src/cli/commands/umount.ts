import { Command } from 'commander';
import { requireRoot, settingsOf } from '../settings.js';

/** `siphon umount DIR` */
export function umountCommand(): Command {
  return new Command('umount')
    .description('unmount what siphon mounted, and end its server')
    .argument('<dir>')
    .action(async (directory: string, _options: object, command: Command) => {
      requireRoot('unmount an image');
      const { unmountImage } = await import('../../layers/unmount-image.js');
      await unmountImage(settingsOf(command).root, directory);
    });
}

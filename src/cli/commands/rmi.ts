import { Command } from 'commander';
import { SiphonError } from '../../common/errors.js';
import { settingsOf } from '../settings.js';
import { describeCollected } from './gc.js';

/** `siphon rmi IMAGE…` */
export function rmiCommand(): Command {
  return new Command('rmi')
    .description('forget images by name, and remove what only they used')
    .argument('<image...>', 'as siphon images lists it')
    .action(async (texts: string[], _options: unknown, command: Command) => {
      const { ImageDatabase } = await import('../../content/image-database.js');
      const { parseImageName } = await import('../../content/image-name.js');
      const { collectGarbage } = await import('../../layers/collect-garbage.js');
      const { json, ...settings } = settingsOf(command);
      const names = [...new Set(texts.map(parseImageName))];
      const missing = removeAll(ImageDatabase.open(settings.root), names);
      const collected = await collectGarbage(settings);
      const removed = names.filter((name) => !missing.includes(name));
      const lines = removed.map((name) => `removed ${name}\n`).join('');
      process.stdout.write(
        json
          ? `${JSON.stringify({ removed, ...collected })}\n`
          : `${lines}${describeCollected(collected)}`,
      );
      if (missing.length > 0) throw notThere(missing);
    });
}

/** @returns the names that there were not */
function removeAll(
  images: { remove(name: string): boolean } & Disposable,
  names: readonly string[],
): string[] {
  using open = images;
  return names.filter((name) => !open.remove(name));
}

function notThere(names: readonly string[]): SiphonError {
  return new SiphonError(
    'not-found',
    `Cannot remove image "${names.join('", "')}": no image here has that name`,
    { hint: 'siphon images lists what there is.' },
  );
}

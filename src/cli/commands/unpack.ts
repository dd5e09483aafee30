import { resolve } from 'node:path';
import { Command } from 'commander';
import { onInterrupt } from '../interruption.js';
import { createProgress } from '../progress.js';
import { requireRoot, settingsOf } from '../settings.js';

/** `siphon unpack SOURCE DIR` */
export function unpackCommand(): Command {
  return new Command('unpack')
    .description('write the root file system of an image, or of a layer tar, into a folder')
    .argument('<source>', 'as of siphon mount')
    .argument('<dir>', 'a folder that is empty or not there')
    .action(async (text: string, directory: string, _: object, command: Command) => {
      requireRoot('unpack an image');
      const { parseSource } = await import('../../content/source.js');
      const { unpackImage } = await import('../../layers/unpack-image.js');
      const { json, ...settings } = settingsOf(command);
      const progress = createProgress();
      const image = await unpackImage({
        ...settings,
        source: parseSource(text),
        target: resolve(directory),
        signal: onInterrupt(),
        onEvent: (event) => progress.update(event),
      }).finally(() => progress.end());
      if (json) process.stdout.write(`${JSON.stringify(image)}\n`);
    });
}

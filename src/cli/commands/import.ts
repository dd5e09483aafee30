import { Command } from 'commander';
import { onInterrupt } from '../interruption.js';
import { createProgressOrEvents } from '../progress.js';
import { settingsOf } from '../settings.js';

/** `siphon import SOURCE [NAME]` */
export function importCommand(): Command {
  return new Command('import')
    .description('take an image of a layout or an archive in, whole')
    .argument('<source>', 'oci:DIR[:REF], oci-archive:FILE[:REF] or docker-archive:FILE[:REF]')
    .argument('[name]', '[HOST/]REPOSITORY[:TAG]; default: what the source calls it')
    .action(async (text: string, name: string | undefined, _options: unknown, command: Command) => {
      const { importImage } = await import('../../content/import-image.js');
      const { ContentStore } = await import('../../content/content-store.js');
      const { parseSource } = await import('../../content/source.js');
      const { json, ...settings } = settingsOf(command);
      const progress = createProgressOrEvents({ json });
      const imported = await importImage({
        ...settings,
        store: await ContentStore.open(settings.root),
        source: parseSource(text),
        ...(name === undefined ? {} : { name }),
        signal: onInterrupt(),
        onEvent: (event) => progress.update(event),
      }).finally(() => progress.end());
      const lines = imported.names.map((one) => `imported ${one}\n`).join('');
      process.stdout.write(json ? `${JSON.stringify(imported)}\n` : lines);
    });
}

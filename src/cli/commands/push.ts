import { Command } from 'commander';
import { onInterrupt } from '../interruption.js';
import { createProgressOrEvents } from '../progress.js';
import { settingsOf } from '../settings.js';

/** `siphon push IMAGE [REFERENCE]` */
export function pushCommand(): Command {
  return new Command('push')
    .description('upload an image to a registry; what is missing here and there is fetched')
    .argument('<image>', 'as siphon images lists it')
    .argument('[reference]', 'HOST/REPOSITORY[:TAG]; default: the name of the image')
    .option('--all-platforms', 'all that the name stands for, not one platform alone')
    .action(
      async (
        name: string,
        text: string | undefined,
        options: { allPlatforms?: boolean },
        command: Command,
      ) => {
        const { parseTag } = await import('../../content/image-name.js');
        const { formatReference } = await import('../../remote/reference.js');
        const { pushLocalImage } = await import('../../layers/local-image.js');
        const { json, ...settings } = settingsOf(command);
        const reference = parseTag((text ?? name).replace(/^docker:\/\//, ''));
        const progress = createProgressOrEvents({ json });
        const { digest } = await pushLocalImage({
          ...settings,
          name,
          reference,
          allPlatforms: options.allPlatforms === true,
          signal: onInterrupt(),
          onEvent: (event) => progress.update(event),
        }).finally(() => progress.end());
        const pushed = { reference: formatReference(reference), digest };
        process.stdout.write(
          json ? `${JSON.stringify(pushed)}\n` : `pushed ${pushed.reference} ${digest}\n`,
        );
      },
    );
}

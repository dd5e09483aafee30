import { Command } from 'commander';
import { SiphonError } from '../../common/errors.js';
import type { ExportTarget } from '../../content/export-image.js';
import { onInterrupt } from '../interruption.js';
import { createProgressOrEvents } from '../progress.js';
import { settingsOf } from '../settings.js';

/** `siphon export IMAGE TARGET` */
export function exportCommand(): Command {
  return new Command('export')
    .description('write an image to a layout or an archive; what is missing here is fetched')
    .argument('<image>', 'as siphon images lists it')
    .argument('<target>', 'oci:DIR[:REF], oci-archive:FILE[:REF] or docker-archive:FILE[:NAME]')
    .option('--all-platforms', 'all that the name stands for, not one platform alone')
    .action(async (name: string, text: string, options: ExportOptions, command: Command) => {
      const { formatSource } = await import('../../content/source.js');
      const { exportLocalImage } = await import('../../layers/local-image.js');
      const { json, ...settings } = settingsOf(command);
      const target = await parseTarget(text);
      const allPlatforms = options.allPlatforms === true;
      if (allPlatforms && target.kind === 'docker-archive') throw onePlatform();
      const progress = createProgressOrEvents({ json });
      await exportLocalImage({
        ...settings,
        name,
        target,
        allPlatforms,
        signal: onInterrupt(),
        onEvent: (event) => progress.update(event),
      }).finally(() => progress.end());
      const written = formatSource(target);
      process.stdout.write(
        json ? `${JSON.stringify({ target: written })}\n` : `exported to ${written}\n`,
      );
    });
}

interface ExportOptions {
  allPlatforms?: boolean;
}

async function parseTarget(text: string): Promise<ExportTarget> {
  const { parseSource } = await import('../../content/source.js');
  const target = parseSource(text);
  switch (target.kind) {
    case 'oci-layout':
    case 'oci-archive':
    case 'docker-archive':
      return target;
    default:
      throw new SiphonError(
        'usage',
        `Cannot export to "${text}": expected oci:DIR, oci-archive:FILE or docker-archive:FILE`,
      );
  }
}

function onePlatform(): SiphonError {
  return new SiphonError(
    'usage',
    'Cannot export all platforms to a docker archive: it holds one, expected oci: or oci-archive:',
  );
}

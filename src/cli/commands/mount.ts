import { Command, Option } from 'commander';
import type { Driver } from '../../layers/image-mount.js';
import { mountInBackground, reportToParent } from '../background.js';
import { onInterrupt } from '../interruption.js';
import { createProgress } from '../progress.js';
import { requireRoot, settingsOf } from '../settings.js';

/** `siphon mount SOURCE DIR` */
export function mountCommand(): Command {
  return new Command('mount')
    .description(
      'show an image or a layer tar as a read-only folder, drawing contents when they are read',
    )
    .argument('<source>', 'docker://HOST/REPO[:TAG|@DIGEST], oci:DIR[:REF], a tar (path or URL), …')
    .argument('<dir>', 'an empty folder')
    .option('--foreground', 'stay until the folder is unmounted')
    .addOption(
      new Option('--driver <name>', 'kernel: as root; libfuse: as anybody')
        .choices(['kernel', 'libfuse'])
        .default(process.getuid?.() === 0 ? 'kernel' : 'libfuse', 'what the user may'),
    )
    .action(async (text: string, directory: string, options: MountOptions, command: Command) => {
      if (options.driver === 'kernel') requireRoot('mount an image through the kernel driver');
      if (options.foreground === true) await mountHere(text, directory, options.driver, command);
      else await mountInBackground(text, directory, options.driver, command);
    });
}

interface MountOptions {
  foreground?: boolean;
  driver: Driver;
}

async function mountHere(
  text: string,
  target: string,
  driver: Driver,
  command: Command,
): Promise<void> {
  const { parseSource } = await import('../../content/source.js');
  const { mountImage } = await import('../../layers/image-mount.js');
  const interrupted = onInterrupt();
  const { json: _, ...settings } = settingsOf(command);
  const parent = reportToParent();
  const progress = parent ?? createProgress();
  const mounted = await mountImage({
    ...settings,
    source: parseSource(text),
    target,
    driver,
    signal: parent === undefined ? interrupted : AbortSignal.any([interrupted, parent.gone]),
    onEvent: (event) => progress.update(event),
  }).finally(() => progress.end());
  parent?.ready();
  await mounted.unmounted(interrupted);
  await mounted.close();
}

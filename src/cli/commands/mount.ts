import { Command, Option } from 'commander';
import type { Driver, ImageMount } from '../../layers/image-mount.js';
import { reportToParent, startInBackground } from '../background.js';
import { showLibfuseNotice } from '../libfuse-notice.js';
import { onInterrupt } from '../interruption.js';
import { layerHostStarter } from '../layer-host.js';
import { createProgress } from '../progress.js';
import { requireRoot, settingsOf } from '../settings.js';

const logName = 'mount.log';

interface MountOptions {
  foreground?: boolean;
  driver: Driver;
}

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
      const { driver, foreground = false } = options;
      if (driver === 'kernel') requireRoot('mount an image through the kernel driver');
      else await showLibfuseNotice(settingsOf(command).root);
      if (driver === 'libfuse' && !foreground) {
        await startInBackground(command, {
          args: ['mount', '--foreground', text, directory, '--driver', driver],
          purpose: `mount "${text}"`,
          logName,
          interrupted: onInterrupt(),
        });
      } else await mountHere(text, directory, { driver, foreground }, command);
    });
}

async function mountHere(
  text: string,
  target: string,
  { driver, foreground }: Required<MountOptions>,
  command: Command,
): Promise<void> {
  const interrupted = onInterrupt();
  const mounted = await mount(text, target, { driver, foreground, interrupted }, command);
  if (!foreground) return mounted.leave();
  process.on('SIGUSR2', () => mounted.replaceServer());
  try {
    await mounted.unmounted(interrupted);
  } finally {
    await mounted.close();
  }
  // libfuse's thread keeps the process alive where somebody else has unmounted.
  if (driver === 'libfuse') process.exit();
}

async function mount(
  text: string,
  target: string,
  how: Required<MountOptions> & { interrupted: AbortSignal },
  command: Command,
): Promise<ImageMount> {
  const { driver, foreground, interrupted } = how;
  const { json: _, ...settings } = settingsOf(command);
  const { parseSource } = await import('../../content/source.js');
  const { mountImage } = await import('../../layers/image-mount.js');
  const parent = reportToParent();
  const progress = parent ?? createProgress();
  const mounted = await mountImage({
    ...settings,
    source: parseSource(text),
    target,
    driver,
    startHost: layerHostStarter(command, foreground ? undefined : logName),
    signal: parent === undefined ? interrupted : AbortSignal.any([interrupted, parent.gone]),
    onEvent: (event) => progress.update(event),
  }).finally(() => progress.end());
  parent?.ready();
  return mounted;
}

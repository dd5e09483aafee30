import { Command, Option } from 'commander';
import type { Driver } from '../../layers/image-mount.js';
import type { Keeper } from '../../layers/keeper.js';
import type { ImageMount } from '../../layers/standing-mount.js';
import { mountInBackground, reportToParent } from '../background.js';
import { showLibfuseNotice } from '../libfuse-notice.js';
import { onInterrupt } from '../interruption.js';
import { createProgress } from '../progress.js';
import { onReplacement, underKeeper } from '../under-keeper.js';
import { type Settings, requireRoot, settingsOf } from '../settings.js';

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
      else await showLibfuseNotice(settingsOf(command).root);
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
  const { json: _, ...settings } = settingsOf(command);
  const keeper = driver === 'kernel' ? await underKeeper(settings.root, settings.log) : undefined;
  const interrupted = onInterrupt();
  const mounted =
    keeper?.kept === undefined
      ? await mountFirst(settings, { text, target, driver, keeper, interrupted })
      : await resume(settings, keeper, keeper.kept.mountPoint);
  onReplacement(keeper, settings.log, () => Promise.resolve());
  if (keeper?.stopping !== true) await mounted.unmounted(interrupted);
  await mounted.close();
  // libfuse's thread keeps the process alive where somebody else has unmounted.
  if (driver === 'libfuse') process.exit();
}

async function mountFirst(
  settings: Omit<Settings, 'json'>,
  request: {
    text: string;
    target: string;
    driver: Driver;
    keeper: Keeper | undefined;
    interrupted: AbortSignal;
  },
): Promise<ImageMount> {
  const { text, target, driver, keeper, interrupted } = request;
  const { parseSource } = await import('../../content/source.js');
  const { mountImage } = await import('../../layers/image-mount.js');
  const parent = reportToParent();
  const progress = parent ?? createProgress();
  const mounted = await mountImage({
    ...settings,
    source: parseSource(text),
    target,
    driver,
    ...(keeper === undefined ? {} : { keeper }),
    signal: parent === undefined ? interrupted : AbortSignal.any([interrupted, parent.gone]),
    onEvent: (event) => progress.update(event),
  }).finally(() => progress.end());
  parent?.ready();
  return mounted;
}

/** Loads as little as can be, for whoever reads the mount waits. */
async function resume(
  settings: Omit<Settings, 'json'>,
  keeper: Keeper,
  mountPoint: string,
): Promise<ImageMount> {
  const { resumeMount } = await import('../../layers/standing-mount.js');
  return resumeMount(settings, keeper, mountPoint);
}

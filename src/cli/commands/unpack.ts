import { mkdir, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Command } from 'commander';
import type { UnpackedImage } from '../../layers/unpack-image.js';
import { onInterrupt } from '../interruption.js';
import { createProgress } from '../progress.js';
import { requireRoot, settingsOf } from '../settings.js';

/** `siphon unpack SOURCE DIR` */
export function unpackCommand(): Command {
  return new Command('unpack')
    .description('write the root file system of an image, or of a layer tar, into a folder')
    .argument('<source>', 'as of siphon mount')
    .argument('<dir>', 'a folder that is empty or not there')
    .option('--bundle', 'into DIR/rootfs, with a DIR/config.json that runc can run')
    .action(
      async (text: string, folder: string, options: { bundle?: boolean }, command: Command) => {
        requireRoot('unpack an image');
        const target = resolve(folder);
        const unpacked =
          options.bundle === true
            ? await unpackBundle(text, target, command)
            : await unpackInto(text, target, command);
        const { image, layers } = unpacked;
        if (!settingsOf(command).json) return;
        process.stdout.write(`${JSON.stringify({ name: image.name, target, layers })}\n`);
      },
    );
}

async function unpackInto(text: string, target: string, command: Command): Promise<UnpackedImage> {
  const { parseSource } = await import('../../content/source.js');
  const { unpackImage } = await import('../../layers/unpack-image.js');
  const { root, platform, plainHttp, log } = settingsOf(command);
  const progress = createProgress();
  return unpackImage({
    root,
    log,
    ...(platform === undefined ? {} : { platform }),
    ...(plainHttp === undefined ? {} : { plainHttp }),
    source: parseSource(text),
    target,
    signal: onInterrupt(),
    onEvent: (event) => progress.update(event),
  }).finally(() => progress.end());
}

async function unpackBundle(
  text: string,
  bundle: string,
  command: Command,
): Promise<UnpackedImage> {
  const { BUNDLE_ROOTFS, writeBundle } = await import('../../exec/write-bundle.js');
  const rootfs = join(bundle, BUNDLE_ROOTFS);
  await mkdir(bundle, { recursive: true });
  const unpacked = await unpackInto(text, rootfs, command);
  try {
    await writeBundle(bundle, unpacked.image.config);
  } catch (error) {
    await rm(rootfs, { recursive: true, force: true });
    throw error;
  }
  return unpacked;
}

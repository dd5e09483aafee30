import { Command } from 'commander';
import type { ListedImage } from '../../layers/image-list.js';
import { formatBytes, formatTable } from '../format.js';
import { onInterrupt } from '../interruption.js';
import { settingsOf } from '../settings.js';

/** `siphon images` */
export function imagesCommand(): Command {
  return new Command('images')
    .description('list the images that are here by name, and how much of each')
    .action(async (_options: unknown, command: Command) => {
      const { listImages } = await import('../../layers/image-list.js');
      const { json, ...settings } = settingsOf(command);
      const images = await listImages({ ...settings, signal: onInterrupt() });
      process.stdout.write(json ? `${JSON.stringify(images)}\n` : tableOf(images));
    });
}

function tableOf(images: readonly ListedImage[]): string {
  return formatTable(
    ['NAME', 'DIGEST', 'IN REGISTRY', 'ON DISK', 'FETCHED', 'STATE'],
    images.map((image) => [
      image.name,
      image.target.slice(0, 'sha256:'.length + 12),
      formatBytes(image.sizeInRegistry),
      formatBytes(image.sizeOnDisk),
      `${Math.floor(image.fetched * 100)} %`,
      image.manifest === undefined ? 'other platform' : image.presence,
    ]),
  );
}

import { Command } from 'commander';
import type { CollectedGarbage } from '../../layers/collect-garbage.js';
import { formatBytes } from '../format.js';
import { settingsOf } from '../settings.js';

/** `siphon gc` */
export function gcCommand(): Command {
  return new Command('gc')
    .description('remove the content and layers that no image, mount or container uses')
    .action(async (_options: unknown, command: Command) => {
      const { collectGarbage } = await import('../../layers/collect-garbage.js');
      const { json, ...settings } = settingsOf(command);
      const collected = await collectGarbage(settings);
      process.stdout.write(json ? `${JSON.stringify(collected)}\n` : describeCollected(collected));
    });
}

/** What went, in a line or two. */
export function describeCollected(collected: CollectedGarbage): string {
  const { blobs, layers, bytes, leftToService, waitedFor } = collected;
  if (waitedFor !== undefined) {
    return `removed nothing: process ${waitedFor} looks an image up\n`;
  }
  const left =
    leftToService.length === 0
      ? ''
      : `left ${leftToService.length} layers to the service, for its next start\n`;
  return `removed ${layers.length} layers and ${blobs.length} blobs (${formatBytes(bytes)})\n${left}`;
}

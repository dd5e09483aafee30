import { Command } from 'commander';
import type { IndexedImage } from '../../layers/index-image.js';
import { formatBytes, formatTable } from '../format.js';
import { onInterrupt } from '../interruption.js';
import { createProgress } from '../progress.js';
import { settingsOf } from '../settings.js';

/** `siphon index build SOURCE` */
export function indexCommand(): Command {
  return new Command('index').description('the indexes that make layers lazy').addCommand(
    new Command('build')
      .description("index every layer, from the layers' own bytes")
      .argument('<source>', 'as of siphon mount')
      .option('--push', 'publish the indexes beside the image')
      .action(async (text: string, options: { push?: boolean }, command: Command) => {
        await buildIndexes(text, options.push === true, command);
      }),
  );
}

async function buildIndexes(text: string, push: boolean, command: Command): Promise<void> {
  const { parseSource } = await import('../../content/source.js');
  const { indexImage } = await import('../../layers/index-image.js');
  const { json, ...settings } = settingsOf(command);
  const progress = createProgress();
  const image = await indexImage({
    ...settings,
    source: parseSource(text),
    push,
    signal: onInterrupt(),
    onEvent: (event) => progress.update(event),
  }).finally(() => progress.end());
  process.stdout.write(json ? `${JSON.stringify(image)}\n` : describe(image));
}

function describe(image: IndexedImage): string {
  const table = formatTable(
    ['LAYER', 'FORMAT', 'ENTRIES', 'SPANS', 'BLOB', 'TAR', 'INDEX'],
    image.layers.map(({ info, size }) => [
      info.blobDigest,
      info.compression,
      String(info.entryCount),
      String(info.spanCount),
      formatBytes(info.blobSize),
      formatBytes(info.tarSize),
      formatBytes(size),
    ]),
  );
  return image.artifact === undefined ? table : `${table}published ${image.artifact.digest}\n`;
}

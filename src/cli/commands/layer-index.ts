import { Command } from 'commander';
import type * as indexImage from '../../layers/index-image.js';
import type { IndexedImage, PublishedImage } from '../../layers/index-image.js';
import type { ListedEntry, ListedSpan } from '../../layers/index-listing.js';
import type { ImageOptions } from '../../layers/serve-image.js';
import { COMPRESSION_SIGNS } from '../../index/compression.js';
import { formatBytes, formatTable } from '../format.js';
import { onInterrupt } from '../interruption.js';
import { createProgress } from '../progress.js';
import { settingsOf } from '../settings.js';

/** `siphon index build | inspect | verify | push SOURCE` */
export function indexCommand(): Command {
  return new Command('index')
    .description('the indexes that make layers lazy')
    .addCommand(
      commandOf('build', "index every layer, from the layers' own bytes")
        .option('--push', 'publish the indexes beside the image')
        .action((text: string, { push }: { push?: boolean }, command: Command) =>
          work(text, command, (layers) =>
            push === true ? layers.buildAndPushIndexes : layers.buildIndexes,
          ),
        ),
    )
    .addCommand(
      commandOf('inspect', 'show the indexes that a mount would use')
        .option('--tree', 'every file of every layer')
        .option('--spans', 'every span: what is fetched and checked together')
        .option('--format', 'what each layer was recognised as, and by what')
        .action(inspect),
    )
    .addCommand(
      commandOf('verify', 'derive those indexes again from their layers, and compare').action(
        (text: string, _: object, command: Command) =>
          work(text, command, (layers) => layers.verifyIndexes),
      ),
    )
    .addCommand(
      commandOf('push', 'publish the indexes that were built here beside the image').action(
        (text: string, _: object, command: Command) =>
          work(text, command, (layers) => layers.pushIndexes),
      ),
    );
}

function commandOf(name: string, description: string): Command {
  return new Command(name).description(description).argument('<source>', 'as of siphon mount');
}

type Layers = typeof indexImage;
type Answer = IndexedImage & Partial<Pick<PublishedImage, 'artifact'>>;

/** Does one thing to all layers, and prints the table of them. */
async function work(
  text: string,
  command: Command,
  choose: (layers: Layers) => (options: ImageOptions) => Promise<Answer>,
): Promise<void> {
  const image = await run(text, command, choose);
  const published = image.artifact === undefined ? '' : `published ${image.artifact.digest}\n`;
  print(command, image, `${tableOf(image)}${published}`);
}

async function run<T>(
  text: string,
  command: Command,
  choose: (layers: Layers) => (options: ImageOptions) => Promise<T>,
): Promise<T> {
  const { parseSource } = await import('../../content/source.js');
  const layers = await import('../../layers/index-image.js');
  const { json: _, ...settings } = settingsOf(command);
  const progress = createProgress();
  const options = { ...settings, source: parseSource(text), signal: onInterrupt() };
  return choose(layers)({ ...options, onEvent: (event) => progress.update(event) }).finally(() =>
    progress.end(),
  );
}

interface InspectOptions {
  tree?: boolean;
  spans?: boolean;
  format?: boolean;
}

async function inspect(text: string, options: InspectOptions, command: Command): Promise<void> {
  const image = await run(text, command, (layers) => layers.inspectIndexes);
  const { listTree, listSpans } = await import('../../layers/index-listing.js');
  if (settingsOf(command).json) {
    const layers = image.layers.map((layer) => ({
      ...layer,
      ...(options.tree === true ? { tree: [...listTree(layer.path)] } : {}),
      ...(options.spans === true ? { spans: [...listSpans(layer.path)] } : {}),
    }));
    process.stdout.write(`${JSON.stringify({ ...image, layers })}\n`);
    return;
  }
  process.stdout.write(options.format === true ? formatsOf(image) : tableOf(image));
  for (const { info, path } of image.layers) {
    const title = `\n${info.blobDigest}\n`;
    if (options.tree === true) {
      process.stdout.write(title);
      for (const entry of listTree(path)) process.stdout.write(lineOf(entry));
    }
    if (options.spans === true) process.stdout.write(`${title}${spansOf([...listSpans(path)])}`);
  }
}

function print(command: Command, value: object, text: string): void {
  process.stdout.write(settingsOf(command).json ? `${JSON.stringify(value)}\n` : text);
}

function tableOf(image: IndexedImage): string {
  return formatTable(
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
}

function formatsOf(image: IndexedImage): string {
  return formatTable(
    ['LAYER', 'COMPRESSION', 'INDEX BY', 'WHY'],
    image.layers.map(({ info }) => [
      info.blobDigest,
      info.compression,
      info.format,
      `${COMPRESSION_SIGNS[info.compression]}; ${info.formatReason}`,
    ]),
  );
}

/** Mode in octal, owner, bytes, time and path. */
function lineOf({ mode, uid, gid, size, mtime, path, target }: ListedEntry): string {
  const link = target === undefined ? '' : ` -> ${target}`;
  const owner = `${uid}:${gid}`.padEnd(9);
  return `${mode.toString(8).padStart(6)} ${owner} ${String(size).padStart(11)} ${mtime} ${path}${link}\n`;
}

function spansOf(spans: readonly ListedSpan[]): string {
  return formatTable(
    ['SPAN', 'TAR OFFSET', 'BYTES', 'BLOB OFFSET', 'BYTES', 'SHA256'],
    spans.map((span) => Object.values(span).map(String)),
  );
}

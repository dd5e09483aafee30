import { Command, Option } from 'commander';
import type { ContainerdPull } from '../../containerd/pull-image.js';
import { formatBytes } from '../format.js';
import { onInterrupt } from '../interruption.js';
import { createProgressOrEvents } from '../progress.js';
import { requireRoot, settingsOf } from '../settings.js';

interface PullOptions {
  containerd?: string;
  namespace: string;
  snapshotter: string;
}

/** `siphon pull SOURCE` */
export function pullCommand(): Command {
  return new Command('pull')
    .description("make an image ready, here or in a containerd, without its files' contents")
    .argument('<source>', 'as of siphon mount; with --containerd, an image in a registry')
    .option('--containerd <socket>', 'pull into the containerd that listens there')
    .addOption(
      new Option('--namespace <name>', "containerd's namespace")
        .env('CONTAINERD_NAMESPACE')
        .default('default'),
    )
    .option('--snapshotter <name>', 'as containerd knows it', 'siphon')
    .action(async (text: string, options: PullOptions, command: Command) => {
      requireRoot('pull an image');
      const { containerd: address } = options;
      if (address === undefined) await pullHere(text, command);
      else await pullThere(text, { ...options, address }, command);
    });
}

async function pullHere(text: string, command: Command): Promise<void> {
  const { formatSource, parseSource } = await import('../../content/source.js');
  const { pullImage } = await import('../../layers/pull-image.js');
  const { json, ...settings } = settingsOf(command);
  const source = parseSource(text);
  const progress = createProgressOrEvents({ json, name: formatSource(source) });
  const image = await pullImage({
    ...settings,
    source,
    signal: onInterrupt(),
    onEvent: (event) => progress.update(event),
  }).finally(() => progress.end());
  const { name, layers } = image;
  process.stdout.write(
    json ? `${JSON.stringify(image)}\n` : `pulled ${name}: ${layers.length} layers ready\n`,
  );
}

async function pullThere(
  text: string,
  { address, namespace, snapshotter }: PullOptions & { address: string },
  command: Command,
): Promise<void> {
  const { parseSource, requireRegistry } = await import('../../content/source.js');
  const { formatReference } = await import('../../remote/reference.js');
  const { pullIntoContainerd } = await import('../../containerd/pull-image.js');
  const { json, ...settings } = settingsOf(command);
  const reference = requireRegistry(parseSource(text), 'pull into containerd');
  const progress = createProgressOrEvents({ json, name: formatReference(reference) });
  const pulled = await pullIntoContainerd({
    ...settings,
    reference,
    containerd: { address, namespace },
    snapshotter,
    signal: onInterrupt(),
    onEvent: (event) => progress.update(event),
  }).finally(() => progress.end());
  process.stdout.write(json ? `${JSON.stringify(pulled)}\n` : describe(pulled));
}

/** What became of a layer, and who saw to it. */
const words = {
  prepared: 'prepared by the snapshotter',
  unpacked: 'unpacked by containerd',
  exists: 'there before',
} as const;

function describe({ name, target, layers }: ContainerdPull): string {
  const counts = (['prepared', 'unpacked', 'exists'] as const)
    .map((how) => ({ how, some: layers.filter((layer) => layer.how === how) }))
    .filter(({ some }) => some.length > 0)
    .map(({ how, some }) => {
      const bytes = some.reduce((sum, { size }) => sum + size, 0);
      return `${some.length} ${words[how]} (${formatBytes(bytes)})`;
    });
  return `pulled ${name}@${target.digest}: ${['layers:', ...counts].join(' ')}\n`;
}

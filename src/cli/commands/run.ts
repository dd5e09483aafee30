import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { Command } from 'commander';
import { onInterrupt } from '../interruption.js';
import { createProgress } from '../progress.js';
import { requireRoot, settingsOf } from '../settings.js';

interface RunOptions {
  name?: string;
  tty?: boolean;
  runtime: string;
}

/** `siphon run SOURCE [CMD...]` */
export function runCommand(): Command {
  return new Command('run')
    .description("run an image's program, or another one in it, before the image is here")
    .argument('<source>', 'as of siphon mount')
    .argument('[cmd...]', "instead of the image's Cmd")
    .option('--name <name>', 'name of the container (default: a random one)')
    .option('-t, --tty', 'give the program a terminal')
    .option('--runtime <name>', 'OCI runtime: runc, crun or a path', 'runc')
    .passThroughOptions()
    .action(async (text: string, args: string[], options: RunOptions, command: Command) => {
      requireRoot('run a container');
      process.exitCode = await runImage(text, args, options, command);
    });
}

async function runImage(
  text: string,
  args: string[],
  options: RunOptions,
  command: Command,
): Promise<number> {
  const { parseSource } = await import('../../content/source.js');
  const { mountRootfs } = await import('../../layers/image-rootfs.js');
  const { runContainer } = await import('../../exec/run-container.js');
  const { json: _, ...settings } = settingsOf(command);
  const id = options.name ?? `siphon-${randomBytes(6).toString('hex')}`;
  const interrupted = onInterrupt();
  const progress = createProgress();
  const rootfs = await mountRootfs({
    ...settings,
    directory: join(settings.root, 'run', id),
    source: parseSource(text),
    signal: interrupted,
    onEvent: (event) => progress.update(event),
  }).finally(() => progress.end());
  try {
    return await runContainer({
      id,
      root: join(settings.root, 'run', 'state'),
      rootfs: rootfs.path,
      config: rootfs.image.config,
      ...(args.length === 0 ? {} : { args }),
      ...(options.tty === true ? { terminal: true } : {}),
      runtime: options.runtime,
      signal: new AbortController().signal,
      log: settings.log,
    });
  } finally {
    await rootfs.close();
  }
}

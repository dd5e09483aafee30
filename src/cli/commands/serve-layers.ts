import { Command } from 'commander';
import { SiphonError } from '../../common/errors.js';
import type { ProcessIdentity } from '../../common/process.js';
import type { HostedLayers } from '../../layers/host-layers.js';
import { type Keeper, currentKeeper } from '../../layers/keeper.js';
import { type ParentLink, reportToParent } from '../background.js';
import { onInterrupt } from '../interruption.js';
import { layersToServe } from '../layer-host.js';
import { type Settings, settingsOf } from '../settings.js';
import { onReplacement } from '../under-keeper.js';

interface Options {
  owner: ProcessIdentity;
  untilUnmounted?: boolean;
}

/** `siphon serve-layers DIRECTORY TARGET`: a layer host (src/layers/layer-host.ts); nobody types it. */
export function serveLayersCommand(): Command {
  return new Command('serve-layers')
    .argument('<directory>')
    .argument('<target>')
    .requiredOption('--owner <pid:start>', 'who started it', parseIdentity)
    .option('--until-unmounted', 'outlast signals while the target is mounted')
    .action(async (directory: string, target: string, options: Options, command: Command) => {
      const keeper = await currentKeeper();
      if (keeper === undefined) {
        throw new SiphonError('usage', 'Cannot serve layers: there is no keeper, expected one');
      }
      const { owner, untilUnmounted = false } = options;
      const request = { directory, target, keeper, owner, untilUnmounted };
      await serveLayers(request, settingsOf(command));
    });
}

async function serveLayers(
  request: Required<Options> & { directory: string; target: string; keeper: Keeper },
  { root, access, fillAfter, log }: Settings,
): Promise<void> {
  const { keeper } = request;
  const stop = onInterrupt();
  // The folder that it was started in may be unmounted like any other.
  process.chdir('/');
  const { hostLayers } = await import('../../layers/host-layers.js');
  const parent = reportToParent({ takesMessages: true });
  const hosted = await hostLayers({
    ...request,
    root,
    access,
    fillAfter,
    log,
  });
  try {
    onReplacement(keeper, log, () => Promise.resolve());
    const isWanted = parent === undefined ? keeper.life > 1 : await begin(hosted, parent, stop);
    if (isWanted && !keeper.stopping) await hosted.unneeded(stop);
  } finally {
    await hosted.close();
  }
  // Whoever never said what to serve waits for the end of this process.
  if (process.connected) process.disconnect();
}

/** Serves what it is told to. @returns whether that came before the end */
async function begin(
  hosted: HostedLayers,
  parent: ParentLink,
  stop: AbortSignal,
): Promise<boolean> {
  const numbers = await layersToServe(AbortSignal.any([stop, parent.gone]));
  if (numbers === undefined) return false;
  parent.ready(await hosted.serve(numbers));
  return true;
}

function parseIdentity(text: string): ProcessIdentity {
  const [pid, startTime = ''] = text.split(':');
  return { pid: Number(pid), startTime };
}

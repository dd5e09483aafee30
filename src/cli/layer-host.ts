/** A layer host's process (src/layers/layer-host.ts): the command `serve-layers` under a keeper. */

import { once } from 'node:events';
import type { Command } from 'commander';
import { processIdentity } from '../common/process.js';
import type { LayerHostOptions, StartLayerHost } from '../layers/layer-host.js';
import { startKept, waitUntilReady } from './background.js';

/** What the host is told once. */
interface Order {
  layers: readonly number[];
}

/** @param logName the file below `<root>/logs` that has what it logs; default: standard error */
export function layerHostStarter(command: Command, logName?: string): StartLayerHost {
  return async (options) => {
    const child = startKept(command, { args: await argumentsFor(options), logName });
    const ended = once(child, 'exit').then(
      ([code]) => Number(code ?? 1),
      () => 1, // it never began
    );
    const ready = waitUntilReady(child, { purpose: 'serve the layers', logName });
    ready.catch(() => {}); // it may fail long before somebody waits
    return {
      pid: child.pid ?? 0,
      ended,
      async serve(layers) {
        const order: Order = { layers };
        child.send(order, () => {}); // where nobody hears it, `ready` tells why
        const folders = await ready;
        child.disconnect();
        return folders;
      },
      release: () => child.unref(),
      async stop() {
        child.kill('SIGTERM');
        // The link would keep it alive.
        if (child.connected) child.disconnect();
        await ended;
      },
    };
  };
}

/** The layers that this process, a host, shall serve; `undefined` where `signal` is aborted before. */
export function layersToServe(signal: AbortSignal): Promise<readonly number[] | undefined> {
  return new Promise((resolve) => {
    const giveUp = (): void => resolve(undefined);
    if (signal.aborted) giveUp();
    signal.addEventListener('abort', giveUp, { once: true });
    process.once('message', ({ layers }: Order) => resolve(layers));
  });
}

async function argumentsFor(options: LayerHostOptions): Promise<string[]> {
  const { directory, target, untilUnmounted } = options;
  const { pid, startTime } = await processIdentity(process.pid);
  const flags = untilUnmounted ? ['--until-unmounted'] : [];
  return ['serve-layers', ...flags, '--owner', `${pid}:${startTime}`, directory, target];
}

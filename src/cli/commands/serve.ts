import { join } from 'node:path';
import { Command } from 'commander';
import type { Logger } from '../../common/log.js';
import { UndoStack } from '../../common/undo-stack.js';
import { ContentStore } from '../../content/content-store.js';
import { LayerPreparer } from '../../layers/layer-preparer.js';
import { LayerServer } from '../../layers/layer-server.js';
import { LayerStore } from '../../layers/layer-store.js';
import { LazySnapshots } from '../../layers/lazy-snapshots.js';
import { serveSnapshotter } from '../../snapshotter/server.js';
import { type ServiceConfig, readConfig } from '../config.js';
import { onInterrupt } from '../interruption.js';
import { defaultRoot, requireRoot, settingsOf } from '../settings.js';

const defaultAddress = '/run/siphon/siphon.sock';

/** `siphon serve` */
export function serveCommand(): Command {
  return new Command('serve')
    .description('be a snapshotter for containerd (proxy_plugins)')
    .option('--config <file>', 'TOML file: root, address, lazy, fetch_timeout')
    .option('--address <socket>', `unix socket to listen on (default: ${defaultAddress})`)
    .action(async (options: { config?: string; address?: string }, command: Command) => {
      requireRoot('serve snapshots');
      const config = await readConfig(options.config);
      const settings = settingsOf(command);
      const given = command.getOptionValueSourceWithGlobals('root') !== 'default';
      await serve(
        {
          ...config,
          root: given ? settings.root : (config.root ?? defaultRoot),
          address: options.address ?? config.address ?? defaultAddress,
        },
        settings.log,
      );
    });
}

type Service = ServiceConfig & { root: string; address: string };

async function serve(config: Service, log: Logger): Promise<void> {
  const stop = onInterrupt();
  const undo = new UndoStack();
  try {
    const lazy = config.lazy ? await openLazyLayers(config, log, undo) : undefined;
    const { root, address } = config;
    const server = await serveSnapshotter({ root, address, lazy, log });
    undo.defer(() => server.close());
    log.info({ root, address, lazy: config.lazy }, 'serving');
    await aborted(stop);
    log.info({ signal: stop.reason as unknown }, 'stopping');
  } finally {
    await undo[Symbol.asyncDispose]();
  }
}

async function openLazyLayers(
  config: Service,
  log: Logger,
  undo: UndoStack,
): Promise<LazySnapshots> {
  const content = await ContentStore.open(config.root);
  const layers = LayerStore.open(config.root);
  undo.defer(() => layers[Symbol.dispose]());
  const server = await LayerServer.start({
    mountPoint: join(config.root, 'fuse'),
    layers,
    content,
    fetchTimeout: config.fetch_timeout * 1000,
    log,
  });
  undo.defer(() => server[Symbol.asyncDispose]());
  const preparer = new LayerPreparer({ layers, content, log });
  const lazy = new LazySnapshots({ layers, content, preparer, server, log });
  undo.defer(() => lazy[Symbol.asyncDispose]());
  return lazy;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

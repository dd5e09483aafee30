/** The service behind `siphon serve`: what it is made of, in the order it starts; it ends the other way. */

import { join } from 'node:path';
import type { Logger } from '../common/log.js';
import { UndoStack } from '../common/undo-stack.js';
import { LayerPreparer } from '../layers/layer-preparer.js';
import { LayerServer } from '../layers/layer-server.js';
import { LazySnapshots } from '../layers/lazy-snapshots.js';
import { openWorkplace } from '../layers/serve-image.js';
import { serveSnapshotter } from '../snapshotter/server.js';
import type { ServiceConfig } from './config.js';
import { onInterrupt } from './interruption.js';

export type Service = ServiceConfig & { root: string; address: string };

/** Serves until the process is told to end. @throws SiphonError for whatever keeps it from starting */
export async function runService(config: Service, log: Logger): Promise<void> {
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
  const { content, layers, open } = await openWorkplace(config.root, undo);
  const server = await LayerServer.start({
    mountPoint: join(config.root, 'fuse'),
    open,
    fetchTimeout: config.fetch_timeout * 1000,
    log,
  });
  undo.defer(() => server[Symbol.asyncDispose]());
  const preparer = new LayerPreparer({ layers, content, log });
  const lazy = new LazySnapshots({ layers, content, preparer, server, open, log });
  undo.defer(() => lazy[Symbol.asyncDispose]());
  return lazy;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** The service behind `siphon serve`: what it is made of, in the order it starts; it ends the other way. */

import type { Logger } from '../common/log.js';
import { UndoStack } from '../common/undo-stack.js';
import type { Keeper } from '../layers/keeper.js';
import { LayerServer } from '../layers/layer-server.js';
import type { LayerOutcome, LazySnapshots } from '../layers/lazy-snapshots.js';
import { openWorkplace } from '../layers/workplace.js';
import { claimRoot } from '../layers/root-claim.js';
import type { RegistryAccess } from '../remote/registry.js';
import { type Listener, removeListener } from '../snapshotter/socket.js';
import type { ServiceMonitor } from '../monitor/service-monitor.js';
import type { ServiceConfig } from './config.js';
import { onInterrupt } from './interruption.js';
import { tellServiceManager } from './service-manager.js';
import type { PodImages } from './pod-images.js';
import { fillTime } from './settings.js';
import { onReplacement } from './under-keeper.js';
import { packageVersion } from './version.js';

const lostText =
  'the server before has died, and this kernel cannot hand its requests on (FUSE_NOTIFY_RESEND, Linux 6.9): ' +
  'containers started before get errors for what the kernel has not cached, until they are started anew';

export type Service = ServiceConfig & {
  root: string;
  address: string;
  listener: Listener;
  access: RegistryAccess;
};

/** Serves until the process is told to end. @throws SiphonError for whatever keeps it from starting */
export async function runService(
  config: Service,
  log: Logger,
  keeper: Keeper | undefined,
): Promise<void> {
  const stop = onInterrupt();
  const undo = new UndoStack();
  try {
    const { root, address, listener, lazy, remap_ids: remapIds } = config;
    // A later server that fails is followed by another, which listens there.
    if (keeper === undefined || keeper.life === 1) undo.defer(() => removeListener(listener));
    undo.defer(await claimRoot(root));
    if (keeper?.isLost === true) log.error({ endedWith: keeper.endedWith }, lostText);
    let monitor: Promise<ServiceMonitor> | undefined;
    const startMonitor = (): Promise<ServiceMonitor> => (monitor ??= newMonitor(config, keeper));
    const pods = await openPods(config, { keeper, undo, log });
    const parts = { keeper, startMonitor, undo, log, pods };
    const layers = lazy ? await openLayers(config, parts) : undefined;
    const { serveSnapshotter } = await import('../snapshotter/server.js');
    const beside = await pods?.openService();
    const parties = { lazy: layers?.lazy, remapIds, beside, log };
    const serving = serveSnapshotter({ root, address, listener, ...parties });
    // Before the first call is taken: a signal that nobody awaits ends this process amid it.
    onReplacement(keeper, log, async () => {
      await tellServiceManager('reloading', log);
      await (await serving).handOver();
    });
    const server = await serving;
    undo.defer(() => server.close());
    await openMonitor(config, await startMonitor(), undo);
    layers?.server.allowSuccession();
    log.info({ root, address, lazy: config.lazy }, 'serving');
    if (keeper?.stopping === true) return;
    await tellServiceManager('ready', log);
    if (lazy) await loadRegistryClient();
    await aborted(stop);
    log.info({ signal: stop.reason as unknown }, 'stopping');
    await tellServiceManager('stopping', log);
  } finally {
    await undo[Symbol.asyncDispose]();
  }
}

/** It is large: whoever starts the first container would wait for it. */
async function loadRegistryClient(): Promise<void> {
  await import('../content/registry-home.js');
}

async function newMonitor(
  { root, address, lazy }: Service,
  keeper: Keeper | undefined,
): Promise<ServiceMonitor> {
  const { ServiceMonitor: Monitor } = await import('../monitor/service-monitor.js');
  const kept = keeper === undefined ? {} : { keeperPid: keeper.pid };
  const [serverPid, version] = [process.pid, packageVersion()];
  return new Monitor({ serverPid, ...kept, version, root, address, lazy });
}

async function openMonitor(
  { root, metrics_address }: Service,
  monitor: ServiceMonitor,
  undo: UndoStack,
): Promise<void> {
  const { parseMonitorAddress, serveMonitor, statusSocket } =
    await import('../monitor/monitor-server.js');
  const addresses = [
    { path: statusSocket(root) },
    ...[metrics_address ?? []].flat().map(parseMonitorAddress),
  ];
  for (const address of addresses) {
    const server = await serveMonitor(monitor, address);
    undo.defer(() => server.close());
  }
}

interface ServiceParts {
  keeper: Keeper | undefined;
  startMonitor: () => Promise<ServiceMonitor>;
  undo: UndoStack;
  log: Logger;
  pods: PodImages | undefined;
}

async function openPods(
  config: Service,
  { keeper, undo, log }: Pick<ServiceParts, 'keeper' | 'undo' | 'log'>,
): Promise<PodImages | undefined> {
  const { image_service: containerd } = config;
  if (containerd === undefined) return undefined;
  const { openPodImages } = await import('./pod-images.js');
  const pods = openPodImages({ ...config, image_service: containerd }, keeper, log);
  undo.defer(() => pods[Symbol.asyncDispose]());
  return pods;
}

async function openLayers(
  config: Service,
  { keeper, startMonitor, undo, log, pods }: ServiceParts,
): Promise<{ lazy: LazySnapshots; server: LayerServer }> {
  const { root, cache_size: cacheSize } = config;
  const own = pods === undefined ? {} : { credentials: pods.credentials };
  const access = { ...config.access, ...own };
  const requests = { requests: config.registry_requests, bytesPerSecond: config.registry_rate };
  const fill = fillTime(config.fill_after);
  const workplace = { root, undo, keeper, access, requests, cacheSize, ...fill, log };
  const { content, layers, open } = await openWorkplace(workplace);
  pods?.keepFor(layers);
  const server = await LayerServer.start({
    directory: root,
    open,
    keeper,
    fetchTimeout: config.fetch_timeout * 1000,
    log,
  });
  undo.defer(() => server[Symbol.asyncDispose]());
  // Whoever reads waits for nothing but the server, so the rest is loaded after it.
  const { LayerPreparer } = await import('../layers/layer-preparer.js');
  const { LazySnapshots } = await import('../layers/lazy-snapshots.js');
  const { UnpackedLayers } = await import('../layers/unpacked-layers.js');
  const unpacked = await UnpackedLayers.open(root);
  const preparer = new LayerPreparer({ layers, content, keep: false, log });
  const policy = { smallestLazyLayer: config.smallest_lazy_layer };
  const parts = { root, layers, content, preparer, server, open, unpacked, access };
  const monitor = await startMonitor();
  const onOutcome = (outcome: LayerOutcome): void => monitor.count(outcome);
  const lazy = new LazySnapshots({ ...parts, policy, onOutcome, log });
  monitor.watch({ layers, content, open, server });
  undo.defer(() => lazy[Symbol.asyncDispose]());
  return { lazy, server };
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

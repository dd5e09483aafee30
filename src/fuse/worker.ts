/** Entry point of a worker thread of a FuseSession; see worker-protocol.ts. */

import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { errorMessage } from '../common/errors.js';
import { threadId } from '../ffi/thread-interrupt.js';
import { countBytes } from './counters.js';
import { DiskReadAhead } from './disk-read-ahead.js';
import { LayerTable } from './layer-table.js';
import type { Serving } from './operations/operation.js';
import { serveRequests } from './request-loop.js';
import { RootDirectory } from './root-directory.js';
import type { FromWorker, ToWorker, WorkerSettings } from './worker-protocol.js';

// The session is the only one that starts this file.
const settings = workerData as WorkerSettings;
const port = parentPort;
if (port === null) throw new Error('Cannot serve FUSE requests: this is no worker thread');

const layers = new LayerTable(settings.awaited);
for (const layer of settings.layers) layers.add(layer);
let seenEpoch = 0;

const serving: Serving = {
  layers,
  root: new RootDirectory(layers, settings.time),
  agreement: settings.agreement,
  ahead: new DiskReadAhead(layers),
  defer: (read) => tell({ kind: 'miss', read }),
  hold: ({ uniqueLow, uniqueHigh, pid }) =>
    tell({ kind: 'held', request: { uniqueLow, uniqueHigh, pid } }),
  interrupt: (uniqueKey) => tell({ kind: 'interrupt', uniqueKey }),
  countBytes: (bytes) => countBytes(settings.counters, bytes),
};

tell({ kind: 'ready', thread: threadId() });
serveRequests({
  device: settings.device,
  counters: settings.counters,
  serving,
  prepare: takeMessages,
  ended: () => Atomics.load(settings.stopping, 0) !== 0,
  failed: (operation, { layer, ino }, error) => {
    const stack = error instanceof Error ? error.stack : undefined;
    const failure = { operation, layer, ino, message: errorMessage(error), stack };
    tell({ kind: 'failure', failure });
  },
});
layers.close();
Atomics.add(settings.left, 0, 1);
Atomics.notify(settings.left, 0);

function takeMessages(): void {
  const epoch = Atomics.load(settings.epoch, 0);
  if (epoch === seenEpoch || port === null) return;
  for (
    let next = receiveMessageOnPort(port);
    next !== undefined;
    next = receiveMessageOnPort(port)
  ) {
    // Only the session posts here.
    const message = next.message as ToWorker;
    if (message.kind === 'add') layers.add(message.layer);
    else layers.remove(message.number);
  }
  seenEpoch = epoch;
  tell({ kind: 'epoch', epoch });
}

function tell(message: FromWorker): void {
  port?.postMessage(message);
}

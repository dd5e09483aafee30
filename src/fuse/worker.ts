/** Entry point of a worker thread of a FuseSession; see worker-protocol.ts. */

import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { errorMessage } from '../common/errors.js';
import { countBytes } from './counters.js';
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
let stopped = false;

const serving: Serving = {
  layers,
  root: new RootDirectory(layers, settings.time),
  agreement: settings.agreement,
  defer: (read) => tell({ kind: 'miss', read }),
  hold: ({ uniqueLow, uniqueHigh, pid }) =>
    tell({ kind: 'held', request: { uniqueLow, uniqueHigh, pid } }),
  interrupt: (uniqueKey) => tell({ kind: 'interrupt', uniqueKey }),
  countBytes: (bytes) => countBytes(settings.counters, bytes),
  obey: (name) => {
    if (name.toString('latin1') === settings.stopName) stopped = true;
  },
};

tell({ kind: 'ready' });
serveRequests({
  device: settings.device,
  counters: settings.counters,
  serving,
  prepare: takeMessages,
  ended: () => stopped,
  failed: (operation, { layer, ino }, error) => {
    const stack = error instanceof Error ? error.stack : undefined;
    const failure = { operation, layer, ino, message: errorMessage(error), stack };
    tell({ kind: 'failure', failure });
  },
});
layers.close();

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

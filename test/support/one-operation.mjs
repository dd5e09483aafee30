/**
 * `node one-operation.mjs ROOT OPERATION LABELS`: opens siphon's root as the service does, without a mount,
 * and does one thing to its snapshots. Runs under record-steps.mjs; see crash-steps.test.ts.
 */

import { silentLogger as log } from '#src/common/log.js';
import { openRoot } from './unmounted-service.mjs';

const [root = '', name = '', labels = '{}'] = process.argv.slice(2);
const { signal } = new AbortController();

const operations = {
  prepare: (snapshots) => snapshots.prepare({ key: 'new', parent: 'base', labels: {} }, signal),
  view: (snapshots) => snapshots.view({ key: 'new', parent: 'base', labels: {} }, signal),
  update: (snapshots) => snapshots.update('base', { changed: 'yes' }, []),
  commit: (snapshots) => snapshots.commit({ key: 'active', name: 'new', labels: {}, parent: '' }),
  remove: (snapshots) => snapshots.remove('active'),
  cleanup: (snapshots) => snapshots.cleanup(),
  'lazy prepare': (snapshots) => prepareLayer(snapshots, 'lazy'),
  'prepare as files': (snapshots) => prepareLayer(snapshots, 'base'),
  'lazy remove': (snapshots) => snapshots.remove('lazy'),
};

async function prepareLayer(snapshots, parent) {
  const request = { key: 'x', parent, labels: JSON.parse(labels) };
  await snapshots.prepare(request, signal).catch((error) => {
    if (error.code !== 'already-exists') throw error;
  });
}

const open = name === 'start';
if (open) globalThis.beginSteps();
const service = await openRoot(root, log, name === 'prepare as files' ? Infinity : 0);
if (!open) {
  globalThis.beginSteps();
  await operations[name](service.snapshotter);
}
globalThis.answered();
await service.close();
process.exit(0);

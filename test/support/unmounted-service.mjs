/** What `siphon serve` is made of, but for the socket and the mount: for a process that is to be killed. */

import { ContentStore } from '#src/content/content-store.js';
import { LayerIndex, rootIno } from '#src/index/layer-index.js';
import { LayerPreparer } from '#src/layers/layer-preparer.js';
import { LayerStore } from '#src/layers/layer-store.js';
import { LazySnapshots } from '#src/layers/lazy-snapshots.js';
import { UnpackedLayers } from '#src/layers/unpacked-layers.js';
import { Snapshotter } from '#src/snapshotter/snapshotter.js';

/** @param smallestLazyLayer 0 for all lazy, more than any has for none */
export async function openRoot(root, log, smallestLazyLayer = 0) {
  const content = await ContentStore.open(root);
  const layers = LayerStore.open(root, process.pid, log);
  const served = new Set();
  const path = (number) => `${root}/fuse/${number}`;
  const server = {
    serve: ({ number }) => {
      layers.hold(number);
      served.add(number);
      return path(number);
    },
    restore: (record) => Promise.resolve(server.serve(record)),
    path,
    stopServing: (number) => (layers.drop(number), Promise.resolve(served.delete(number))),
  };
  const rootOf = (number) => {
    const index = LayerIndex.open(layers.indexPath(number));
    const inode = index.inode(rootIno);
    index.close();
    return inode;
  };
  const ordering = (source) => source;
  const open = { has: (number) => served.has(number), root: rootOf, ordering };
  const preparer = new LayerPreparer({ layers, content, keep: false, log });
  const unpacked = await UnpackedLayers.open(root);
  const policy = { smallestLazyLayer };
  const parts = { root, layers, content, preparer, server, open, unpacked };
  const lazy = new LazySnapshots({ ...parts, policy, log });
  const snapshotter = await Snapshotter.open({ root, lazy, log });
  const close = async () => {
    await snapshotter.close();
    await lazy[Symbol.asyncDispose]();
    layers[Symbol.dispose]();
  };
  return { snapshotter, layers, content, close };
}

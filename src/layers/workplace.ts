/** siphon's root as one process works in it: what is known of blobs and layers, and what is open. */

import type { Logger } from '../common/log.js';
import type { UndoStack } from '../common/undo-stack.js';
import { ContentStore } from '../content/content-store.js';
import { giveBackMemory } from '../ffi/memory.js';
import type { RegistryAccess } from '../remote/registry.js';
import type { Keeper } from './keeper.js';
import { LayerStore } from './layer-store.js';
import { OpenLayers, type OpenLayersOptions } from './open-layers.js';

/** The parts of siphon's root that preparing an image takes; closed by `undo`. */
export interface Stores {
  content: ContentStore;
  layers: LayerStore;
}

/** What serving it takes besides. */
export interface Workplace extends Stores {
  open: OpenLayers;
}

export interface StoresOptions {
  root: string;
  undo: UndoStack;
  /** In whose name layers are held, so that they stay while its server is replaced. */
  keeper?: Keeper | undefined;
  log: Logger;
}

export interface WorkplaceOptions
  extends StoresOptions, Pick<OpenLayersOptions, 'requests' | 'cacheSize' | 'fillAfter'> {
  access?: RegistryAccess | undefined;
}

/** @throws SiphonError `unsupported` where a newer program wrote the root; the system error */
export async function openStores({ root, undo, keeper, log }: StoresOptions): Promise<Stores> {
  const content = await ContentStore.open(root);
  const layers = LayerStore.open(root, keeper?.pid, log);
  undo.defer(() => layers[Symbol.dispose]());
  return { content, layers };
}

/** As {@link openStores}, for a process that serves layers. */
export async function openWorkplace(options: WorkplaceOptions): Promise<Workplace> {
  const { undo, access, requests, cacheSize, fillAfter, log } = options;
  const memory = giveBackMemory();
  undo.defer(() => memory[Symbol.dispose]());
  const stores = await openStores(options);
  const open = new OpenLayers({ ...stores, access, requests, cacheSize, fillAfter, log });
  undo.defer(() => open[Symbol.asyncDispose]());
  return { ...stores, open };
}

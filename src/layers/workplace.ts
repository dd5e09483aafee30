/** siphon's root as one process works in it: what is known of blobs and layers, and what is open. */

import type { Logger } from '../common/log.js';
import type { UndoStack } from '../common/undo-stack.js';
import { ContentStore } from '../content/content-store.js';
import type { RegistryAccess } from '../remote/registry.js';
import type { Keeper } from './keeper.js';
import { LayerStore } from './layer-store.js';
import { OpenLayers, type OpenLayersOptions } from './open-layers.js';

/** The parts of siphon's root that serving an image takes; closed by `undo`. */
export interface Workplace {
  content: ContentStore;
  layers: LayerStore;
  open: OpenLayers;
}

export interface WorkplaceOptions extends Pick<OpenLayersOptions, 'requests' | 'cacheSize'> {
  root: string;
  undo: UndoStack;
  /** In whose name layers are held, so that they stay while its server is replaced. */
  keeper?: Keeper | undefined;
  access?: RegistryAccess | undefined;
  log: Logger;
}

/** @throws SiphonError `unsupported` where a newer program wrote the root; the system error */
export async function openWorkplace(options: WorkplaceOptions): Promise<Workplace> {
  const { root, undo, keeper, access, requests, cacheSize, log } = options;
  const content = await ContentStore.open(root);
  const layers = LayerStore.open(root, keeper?.pid, log);
  undo.defer(() => layers[Symbol.dispose]());
  const open = new OpenLayers({ layers, content, access, requests, cacheSize, log });
  undo.defer(() => open[Symbol.asyncDispose]());
  return { content, layers, open };
}

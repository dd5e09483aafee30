/**
 * One image served through the kernel driver by a process of its own, each layer in a folder below
 * FUSE mounts of the session's own, ready to be merged by overlayfs.
 */

import { mkdir, rm } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { SiphonError, systemCode } from '../common/errors.js';
import { UndoStack } from '../common/undo-stack.js';
import type { Image } from '../content/image.js';
import type { LayerHost, LayerHostOptions, StartLayerHost } from './layer-host.js';
import { type Decision, decideWhenServable } from './layer-policy.js';
import { foldersAbove } from './large-files.js';
import { clearLayerMounts } from './layer-mounts.js';
import type { LayerStore } from './layer-store.js';
import type { OverlayStack } from './overlay-mount.js';
import type { ImageOptions } from './serve-image.js';

export interface ImageSessionOptions
  extends ImageOptions, Pick<LayerHostOptions, 'target' | 'untilUnmounted'> {
  /** Folder of this session's own, made and removed by it. */
  directory: string;
  startHost: StartLayerHost;
}

export interface ImageSession {
  readonly image: Image;
  /** Serves the layers. */
  readonly host: LayerHost;
  /** The folders to be merged, topmost first, as paths below `base`. */
  readonly stack: Pick<OverlayStack, 'base' | 'lowerdirs' | 'dispensable'>;
  /** What became of each layer, topmost first. */
  readonly decisions: readonly Decision[];
  /** Unmounts and closes; the overlay on top must be gone. */
  close(): Promise<void>;
  /** Closes what this process has open; the layers stay, and with them the host's process. */
  leave(): Promise<void>;
}

/** @throws SiphonError for whatever keeps the image from being served; nothing is left mounted then */
export async function openImageSession(options: ImageSessionOptions): Promise<ImageSession> {
  const [served, own] = [new UndoStack(), new UndoStack()];
  served.defer(() => own[Symbol.asyncDispose]());
  try {
    return await open(options, served, own);
  } catch (error) {
    await served[Symbol.asyncDispose]();
    throw error;
  }
}

async function makeOwnFolder(directory: string): Promise<void> {
  await mkdir(dirname(directory), { recursive: true, mode: 0o700 });
  try {
    await mkdir(directory, { mode: 0o700 });
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
    throw new SiphonError(
      'already-exists',
      `Cannot use "${directory}": something of that name runs or was left behind, expected a new name`,
      { cause: error },
    );
  }
}

/**
 * @param served undoes what the layers' folders need
 * @param own undoes what only this process needs
 */
async function open(
  options: ImageSessionOptions,
  served: UndoStack,
  own: UndoStack,
): Promise<ImageSession> {
  const { root, directory, target, untilUnmounted, log } = options;
  await makeOwnFolder(directory);
  served.defer(() => rm(directory, { recursive: true, force: true }));
  // It starts while the layers are prepared, and while this process loads what prepares them.
  const host = await options.startHost({ directory, target, untilUnmounted });
  served.defer(() => stop(host, directory));
  const { openStores } = await import('./workplace.js');
  const { openImageAt, prepareLayers } = await import('./serve-image.js');
  const stores = await openStores({ root, undo: own, log });
  const used = await openImageAt(stores, { ...options, prepares: true }, own);
  const records = await prepareLayers(stores, used, options);
  // Overlay refuses a folder twice; the upper one says all that a lower one of the same layer could.
  const numbers = [...new Set(records.map(({ number }) => number))];
  const folders = await host.serve(numbers);
  return {
    image: used.image,
    host,
    stack: await stackOf(stores.layers, { directory, numbers, folders }),
    decisions: await Promise.all(
      records.map(async ({ blobDigest }) =>
        decideWhenServable({ keptHere: await stores.content.has(blobDigest) }),
      ),
    ),
    close: () => served[Symbol.asyncDispose](),
    async leave() {
      await own[Symbol.asyncDispose]();
      host.release();
    },
  };
}

async function stop(host: LayerHost, directory: string): Promise<void> {
  await host.stop();
  // It may have been killed before it could unmount.
  await clearLayerMounts(directory);
}

/** @param folders of the layers with these `numbers`, topmost first, below `directory` */
async function stackOf(
  layers: LayerStore,
  {
    directory,
    numbers,
    folders,
  }: { directory: string; numbers: readonly number[]; folders: readonly string[] },
): Promise<ImageSession['stack']> {
  const dispensable = new Set<string>();
  const lowerdirs = numbers.flatMap((number, at) => {
    const above = foldersAbove(layers.directory(number)).map((path) => relative(directory, path));
    for (const folder of above) dispensable.add(folder);
    return [...above, ...folders.slice(at, at + 1)];
  });
  const { makeImpliedDirectories } = await import('./implied-directories.js');
  const indexes = numbers.map((number) => layers.indexPath(number));
  if (await makeImpliedDirectories(indexes, join(directory, 'implied'))) {
    lowerdirs.unshift('implied');
  }
  // Overlay wants two folders at least, and only it hides whiteouts.
  const padding = lowerdirs.length === 0 ? ['empty', 'emptier'] : ['empty'];
  for (const name of padding) await mkdir(join(directory, name), { mode: 0o755 });
  return { base: directory, lowerdirs: [...lowerdirs, ...padding], dispensable };
}

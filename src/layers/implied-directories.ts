/**
 * Directories that a layer needs but does not describe. A layer tar may hold `usr/bin/tool` without
 * `usr/` and `usr/bin/`; unpacked over the layers below, those keep what a lower layer says of them.
 * Overlay, though, takes the attributes of a merged directory from the topmost layer that has it, where
 * the index can only say 0755, root, epoch. So where a lower layer has the directory, one plain folder goes
 * on top of the stack that holds these directories, empty, with the right attributes.
 */

import { DirectoryFinder } from '../index/find-directory.js';
import { LayerIndex } from '../index/layer-index.js';
import type { ByteString } from '../index/tar-header.js';
import {
  type DirectoriesByPath,
  inheritedDirectories,
  writeDirectories,
} from '../unpack/implied-folder.js';
import { IndexedLayer, nearest } from '../unpack/lower-layer.js';

/**
 * Makes the folder, unless no directory needs it.
 * @param indexPaths of the layers, topmost first
 * @returns whether there is a folder now
 */
export async function makeImpliedDirectories(
  indexPaths: readonly string[],
  folder: string,
): Promise<boolean> {
  const indexes: LayerIndex[] = [];
  try {
    for (const path of indexPaths) indexes.push(LayerIndex.open(path));
    const stack = await stackOf(indexes);
    const wanted = impliedOnTop(stack);
    if (wanted.size === 0) return false;
    const layers = stack.map(({ layer }) => layer);
    await writeDirectories(folder, wanted, { directory: (path) => nearest(layers, path) });
    return true;
  } finally {
    for (const index of indexes) index.close();
  }
}

interface StackedLayer {
  layer: IndexedLayer;
  finder: DirectoryFinder;
  /** The directories that it needs, with what the layers below say of them. */
  inherited: DirectoriesByPath;
}

/** From the lowest on, as an unpacker gets to them. @returns topmost first */
async function stackOf(indexes: readonly LayerIndex[]): Promise<StackedLayer[]> {
  const stack: StackedLayer[] = [];
  for (const index of indexes.toReversed()) {
    const below = stack.map(({ layer }) => layer);
    const inherited = await inheritedDirectories(index, {
      directory: (path) => nearest(below, path),
    });
    const layer = new IndexedLayer(index, { directory: (path) => inherited.get(path) });
    stack.unshift({ layer, finder: new DirectoryFinder(index), inherited });
  }
  return stack;
}

/** Those that are seen in the merged tree and are described by no layer above the ones that need them. */
function impliedOnTop(stack: readonly StackedLayer[]): DirectoriesByPath {
  const wanted: DirectoriesByPath = new Map();
  for (const [at, { inherited }] of stack.entries()) {
    const above = stack.slice(0, at);
    for (const [path, found] of inherited)
      if (above.every(({ finder }) => hasNothing(finder, path))) wanted.set(path, found);
  }
  return wanted;
}

/** Neither the directory nor what hides it. */
function hasNothing(finder: DirectoryFinder, path: ByteString): boolean {
  const { found, isOpaque } = finder.find(path);
  return found === 'missing' && !isOpaque;
}

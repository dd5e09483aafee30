/**
 * Directories that a layer needs and does not list, for a layer whose own folder cannot be written to: in the merged
 * tree they are what the layers below say, but overlayfs shows the attributes of the topmost. So with what the
 * layers below say of them they go into another folder, which is to stand above the layer's in an overlay. It holds
 * nothing else.
 */

import { closeSync, constants, openSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { O, closeDescriptor, makeDirectoryAt, openAt } from '../ffi/at-calls.js';
import { withParents } from '../index/byte-path.js';
import type { LayerIndex } from '../index/layer-index.js';
import { S_IF } from '../index/modes.js';
import type { ByteString } from '../index/tar-header.js';
import { setAttributes } from './inherit-directories.js';
import {
  type Directories,
  IndexedLayer,
  type LowerDirectory,
  type LowerLayer,
  LowerLayers,
  nearest,
} from './lower-layer.js';
import { BENEATH } from './rooted-look.js';
import { syncTree } from './sync-tree.js';

export interface ImpliedFolderOptions {
  /** Where the folder is made; nothing is there yet. */
  target: string;
  /** The layer's. */
  index: LayerIndex;
  /** The layers below, nearest first. */
  parents: readonly LowerLayer[];
}

/** Directories by their paths from the root, one character a byte; the root is empty. */
export type DirectoriesByPath = Map<ByteString, LowerDirectory>;

const ROOT = '';
const NOTHING: Directories = { directory: () => undefined };
/** Directories that are looked at before others get their turn. */
const BATCH = 64;

/**
 * Makes the folder, on disk for good when it resolves, unless the directories look so without it.
 * @returns whether there is a folder now
 * @throws the system error of a folder that cannot be read or written, the SiphonError of an index that cannot be;
 * the target may hold anything then
 */
export async function writeImpliedFolder(options: ImpliedFolderOptions): Promise<boolean> {
  const { target, index, parents } = options;
  if (parents.length === 0) return false;
  const layer = new IndexedLayer(index, NOTHING);
  const own: Directories = { directory: (path) => nearest([layer], path) };
  using below = new LowerLayers(parents);
  const inherited = await inheritedDirectories(index, below, (path, found) =>
    changes(found, own.directory(path), path),
  );
  if (inherited.size === 0) return false;
  await writeDirectories(target, inherited, own);
  await syncTree(target);
  return true;
}

/** The directories that a layer does not list and layers below have, each with what those say, where it `matters`. */
export async function inheritedDirectories(
  index: LayerIndex,
  below: Directories,
  matters: (path: ByteString, found: LowerDirectory) => boolean = () => true,
): Promise<DirectoriesByPath> {
  const inherited: DirectoriesByPath = new Map();
  for await (const { path } of inTurns(index.implicitDirectories())) {
    const found = below.directory(path);
    if (found !== undefined && matters(path, found)) inherited.set(path, found);
  }
  return inherited;
}

/**
 * Makes a folder of directories.
 * @param parents says what those are that lead to them and are not among them
 */
export async function writeDirectories(
  target: string,
  directories: DirectoriesByPath,
  parents: Directories,
): Promise<void> {
  await mkdir(target, { mode: 0o755 });
  const root = openSync(target, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const paths = [...new Set([...directories.keys()].flatMap(withParents))].sort(byDepth);
    for (const path of paths) make(root, path);
    // Whatever is made in a directory changes its time.
    for await (const path of inTurns(paths.toReversed())) {
      const attributes = directories.get(path) ?? parents.directory(path);
      if (attributes !== undefined) setAttributes(root, path, attributes);
    }
  } finally {
    closeSync(root);
  }
}

/** A root's time is nobody's: unpacking changes it. */
function changes(
  below: LowerDirectory,
  layer: LowerDirectory | undefined,
  path: ByteString,
): boolean {
  if (below.xattrs.length > 0 || layer === undefined) return true;
  const sameTime =
    below.mtimeSeconds === layer.mtimeSeconds && below.mtimeNanoseconds === layer.mtimeNanoseconds;
  const sameMode = (below.mode & ~S_IF.MT) === (layer.mode & ~S_IF.MT);
  const isSame = below.uid === layer.uid && below.gid === layer.gid && sameMode;
  return !isSame || (path !== ROOT && !sameTime);
}

const depth = (path: ByteString): number => (path === ROOT ? 0 : path.split('/').length);
const byDepth = (a: ByteString, b: ByteString): number => depth(a) - depth(b);

/** Beneath the root, whatever the path says. */
function make(root: number, path: ByteString): void {
  if (path === ROOT) return;
  const slash = path.lastIndexOf('/');
  const parent = slash === -1 ? '.' : path.slice(0, slash);
  const fd = openAt(root, parent, O.RDONLY | O.DIRECTORY, 0, BENEATH);
  try {
    makeDirectoryAt(fd, path.slice(slash + 1), 0o755);
  } finally {
    closeDescriptor(fd);
  }
}

async function* inTurns<T>(items: Iterable<T>): AsyncGenerator<T> {
  let n = 0;
  for (const item of items) {
    if (++n % BATCH === 0) await setImmediate();
    yield item;
  }
}

/**
 * Directories that a layer needs and does not list, for a layer whose own folder cannot be written to:
 * with what the layers below say of them they go into another folder, which is to stand directly above
 * the layer's in an overlay. It holds nothing else, and is made only where it changes something.
 */

import { closeSync, constants, openSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { O, closeDescriptor, makeDirectoryAt, openAt } from '../ffi/at-calls.js';
import { syncFileSystem } from '../ffi/libc.js';
import { withParents } from '../index/byte-path.js';
import { S_IF } from '../index/modes.js';
import type { ByteString } from '../index/tar-header.js';
import { setAttributes } from './inherit-directories.js';
import { type LowerDirectory, type LowerLayer, LowerLayers } from './lower-layer.js';
import { BENEATH } from './rooted-directories.js';

export interface ImpliedFolderOptions {
  /** Where the folder is made; nothing is there yet. */
  target: string;
  layer: LowerLayer;
  /** Its implicit directories: paths from the root, one character a byte; the root is empty. */
  directories: Iterable<ByteString>;
  /** The layers below, nearest first; each may have such a folder directly above it. */
  parents: readonly LowerLayer[];
}

const ROOT = '';
/** Directories that are looked at before others get their turn. */
const BATCH = 64;

/**
 * Makes the folder, on disk for good when it resolves, unless no directory needs it.
 * @returns whether there is a folder now
 * @throws the system error of a folder that cannot be read or written; the target may hold anything then
 */
export async function writeImpliedFolder(options: ImpliedFolderOptions): Promise<boolean> {
  const { target, directories, parents } = options;
  if (parents.length === 0) return false;
  using layer = new LowerLayers([options.layer]);
  using below = new LowerLayers(parents);
  const changed = await changedDirectories(directories, { layer, below });
  if (changed.size === 0) return false;
  await mkdir(target, { mode: 0o755 });
  const root = openSync(target, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const paths = [...new Set([...changed.keys()].flatMap(withParents))].sort(byDepth);
    for (const path of paths) make(root, path);
    // Whatever is made in a directory changes its time.
    for await (const path of inTurns(paths.toReversed()))
      setAttributes(root, path, changed.get(path) ?? own(layer, path));
    await syncFileSystem(root);
  } finally {
    closeSync(root);
  }
  return true;
}

/** The directories that look otherwise below, each with how. */
async function changedDirectories(
  directories: Iterable<ByteString>,
  { layer, below }: { layer: LowerLayers; below: LowerLayers },
): Promise<Map<ByteString, LowerDirectory>> {
  const changed = new Map<ByteString, LowerDirectory>();
  for await (const path of inTurns(directories)) {
    const found = below.directory(path);
    if (found !== undefined && changes(found, own(layer, path), path)) changed.set(path, found);
  }
  return changed;
}

function own(layer: LowerLayers, path: ByteString): LowerDirectory {
  const found = layer.directory(path);
  if (found !== undefined) return found;
  throw new Error(`Cannot find directory "${path}" of the layer, expected what it lists`);
}

/** A root's time is nobody's: unpacking changes it. */
function changes(below: LowerDirectory, layer: LowerDirectory, path: ByteString): boolean {
  if (below.xattrs.length > 0) return true;
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

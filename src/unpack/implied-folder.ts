/**
 * Directories that a layer needs and does not list, for a layer whose own folder cannot be written to:
 * with what the layers below say of them they go into another folder, which is to stand directly above
 * the layer's in an overlay. It holds nothing else, and is made only where it changes something.
 */

import { closeSync, constants, openSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { O, closeDescriptor, makeDirectoryAt, openAt, statusAt } from '../ffi/at-calls.js';
import { syncFileSystem } from '../ffi/libc.js';
import { S_IF } from '../index/modes.js';
import type { ByteString } from '../index/tar-header.js';
import { attributeNames, copyAttributes, openInherited } from './inherit-directories.js';
import { BENEATH } from './rooted-directories.js';

export interface ImpliedFolderOptions {
  /** Where the folder is made; nothing is there yet. */
  target: string;
  /** Folder of the layer. */
  layer: string;
  /** Its implicit directories: paths from the root, one character a byte; the root is empty. */
  directories: readonly ByteString[];
  /** Folders of the layers below, nearest first; each may have such a folder directly above it. */
  parents: readonly string[];
}

const ROOT = '.';
/** Directories that are looked at before others get their turn. */
const BATCH = 64;

/**
 * Makes the folder, on disk for good when it resolves, unless no directory needs it.
 * @returns whether there is a folder now
 * @throws the system error of a folder that cannot be read or written; the target may hold anything then
 */
export async function writeImpliedFolder(options: ImpliedFolderOptions): Promise<boolean> {
  const { target, layer, directories, parents } = options;
  if (directories.length === 0 || parents.length === 0) return false;
  using folders = new OpenFolders();
  const sources = await changedSources(folders, options);
  if (sources.size === 0) return false;
  await mkdir(target, { mode: 0o755 });
  const root = folders.open(target);
  const paths = [...new Set([...sources.keys()].flatMap(withParents))].sort(byDepth);
  for (const path of paths) make(root, path);
  // Whatever is made in a directory changes its time.
  for await (const path of inTurns(paths.toReversed()))
    copy(folders.open(sources.get(path) ?? layer), root, path);
  await syncFileSystem(root);
  return true;
}

/** The directories that look otherwise below, each with the folder that says how. */
async function changedSources(
  folders: OpenFolders,
  { layer, directories, parents }: ImpliedFolderOptions,
): Promise<Map<ByteString, string>> {
  const sources = new Map<ByteString, string>();
  for await (const directory of inTurns(directories)) {
    const path = directory === '' ? ROOT : directory;
    for (const parent of parents) {
      const found = openInherited(folders.open(parent), path);
      if (found === 'missing') continue;
      if (found === 'other') break;
      try {
        if (changes(found, folders.open(layer), path)) sources.set(path, parent);
      } finally {
        closeDescriptor(found);
      }
      break;
    }
  }
  return sources;
}

/** A root's time is nobody's: unpacking changes it. */
function changes(below: number, layer: number, path: ByteString): boolean {
  if (attributeNames(below).length > 0) return true;
  const [one, other] = [statusAt(below, ''), statusAt(layer, path)];
  const sameTime =
    one.mtimeSeconds === other.mtimeSeconds && one.mtimeNanoseconds === other.mtimeNanoseconds;
  const sameMode = (one.mode & ~S_IF.MT) === (other.mode & ~S_IF.MT);
  const isSame = one.uid === other.uid && one.gid === other.gid && sameMode;
  return !isSame || (path !== ROOT && !sameTime);
}

/** `a/b` → `.`, `a`, `a/b`. */
function withParents(path: ByteString): ByteString[] {
  if (path === ROOT) return [ROOT];
  const parts = path.split('/');
  return [ROOT, ...parts.map((_, n) => parts.slice(0, n + 1).join('/'))];
}

const depth = (path: ByteString): number => (path === ROOT ? 0 : path.split('/').length);
const byDepth = (a: ByteString, b: ByteString): number => depth(a) - depth(b);

/** Beneath the root, whatever the path says. */
function make(root: number, path: ByteString): void {
  if (path === ROOT) return;
  const slash = path.lastIndexOf('/');
  const parent = slash === -1 ? ROOT : path.slice(0, slash);
  const fd = openAt(root, parent, O.RDONLY | O.DIRECTORY, 0, BENEATH);
  try {
    makeDirectoryAt(fd, path.slice(slash + 1), 0o755);
  } finally {
    closeDescriptor(fd);
  }
}

function copy(source: number, root: number, path: ByteString): void {
  const from = openInherited(source, path);
  if (typeof from === 'string')
    throw new Error(`Cannot copy directory "${path}": it is gone, expected what was just there`);
  try {
    copyAttributes(from, root, path);
  } finally {
    closeDescriptor(from);
  }
}

async function* inTurns<T>(items: readonly T[]): AsyncGenerator<T> {
  for (const [n, item] of items.entries()) {
    if (n % BATCH === BATCH - 1) await setImmediate();
    yield item;
  }
}

/** Folders by path, opened when they are needed. */
class OpenFolders implements Disposable {
  readonly #open = new Map<string, number>();

  open(path: string): number {
    const fd = this.#open.get(path) ?? openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
    this.#open.set(path, fd);
    return fd;
  }

  [Symbol.dispose](): void {
    for (const fd of this.#open.values()) closeSync(fd);
  }
}

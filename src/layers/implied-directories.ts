/**
 * Directories that a layer needs but does not describe. A layer tar may hold `usr/bin/tool` without
 * `usr/` and `usr/bin/`; unpacked over the layers below, those keep what a lower layer says of them.
 * Overlay, though, takes the attributes of a merged directory from the topmost layer that has it, where
 * the index can only say 0755, root, epoch. So where a lower layer says otherwise, one plain folder goes
 * on top of the stack that holds these directories, empty, with the right attributes.
 */

import { closeSync, constants, openSync } from 'node:fs';
import { chmod, chown, mkdir } from 'node:fs/promises';
import { systemCode } from '../common/errors.js';
import { setTimesAt, setXattr } from '../ffi/at-calls.js';
import { withParents } from '../index/byte-path.js';
import { findDirectory } from '../index/find-directory.js';
import { type Inode, LayerIndex } from '../index/layer-index.js';

/** `AT_FDCWD`: what follows is an absolute path. */
const anywhere = -100;
const maxSymlinks = 255;

/** A path from the root, one character a byte; `''` is the root. */
type Path = string;

/**
 * Makes the folder, unless no directory needs it.
 * @param indexPaths of the layers, topmost first
 * @returns whether there is a folder now
 */
export async function makeImpliedDirectories(
  indexPaths: readonly string[],
  folder: string,
): Promise<boolean> {
  const stack: LayerIndex[] = [];
  try {
    for (const path of indexPaths) stack.push(LayerIndex.open(path));
    const wanted = impliedDirectories(stack);
    if (wanted.size > 0) await makeFolder(folder, wanted);
    return wanted.size > 0;
  } finally {
    for (const index of stack) index.close();
  }
}

/** The directories of the folder with what describes them; parents of others may have nothing. */
function impliedDirectories(stack: readonly LayerIndex[]): Map<Path, Description | undefined> {
  const wanted = new Map<Path, Description | undefined>();
  for (const layer of stack) {
    for (const { path } of layer.implicitDirectories()) {
      if (wanted.get(path) !== undefined) continue;
      if (!isImpliedOnTop(stack, path) || descriptionOf(stack, path) === undefined) continue;
      for (const one of withParents(path)) wanted.set(one, descriptionOf(stack, one));
    }
  }
  return wanted;
}

/** Whether the topmost layer that has something there has the directory without describing it. */
function isImpliedOnTop(stack: readonly LayerIndex[], path: Path): boolean {
  for (const index of stack) {
    const { found, isOther, isOpaque } = findDirectory(index, path);
    if (found !== undefined) return index.isImplicit(found.ino);
    if (isOther || isOpaque) return false;
  }
  return false;
}

/** What the topmost layer that describes a merged directory says of it. */
function descriptionOf(stack: readonly LayerIndex[], path: Path): Description | undefined {
  for (const index of stack) {
    const { found, isOther, isOpaque } = findDirectory(index, path, maxSymlinks);
    if (found !== undefined && !index.isImplicit(found.ino))
      return { inode: found, xattrs: xattrsOf(index, found.ino) };
    if (isOther || isOpaque) return undefined;
  }
  return undefined;
}

/** The attributes that a layer gives a directory; overlay's marks are about the layer, not the directory. */
interface Description {
  inode: Inode;
  xattrs: { name: string; value: Buffer }[];
}

function xattrsOf(index: LayerIndex, ino: number): Description['xattrs'] {
  return index.xattrNames(ino).flatMap((name) => {
    const text = name.toString('latin1');
    const value = text.startsWith('trusted.overlay.') ? undefined : index.xattr(ino, name);
    return value === undefined ? [] : [{ name: text, value }];
  });
}

async function makeFolder(
  folder: string,
  wanted: Map<Path, Description | undefined>,
): Promise<void> {
  const paths = [...wanted.keys()].sort();
  const below = (path: Path): string => Buffer.from(`${folder}/`).toString('latin1') + path;
  for (const path of paths) {
    await mkdir(Buffer.from(below(path), 'latin1'), { recursive: true, mode: 0o755 });
  }
  for (const path of paths.toReversed()) {
    const { inode, xattrs = [] } = wanted.get(path) ?? {};
    if (inode !== undefined) {
      await chown(Buffer.from(below(path), 'latin1'), inode.uid, inode.gid);
      setXattrs(Buffer.from(below(path), 'latin1'), xattrs);
      await chmod(Buffer.from(below(path), 'latin1'), inode.mode & 0o7777);
    }
    const { mtimeSeconds = 0, mtimeNanoseconds = 0 } = inode ?? {};
    setTimesAt(anywhere, below(path), mtimeSeconds, mtimeNanoseconds);
  }
}

/** Those that the file system of siphon's root does not take are left out. */
function setXattrs(directory: Buffer, xattrs: Description['xattrs']): void {
  if (xattrs.length === 0) return;
  const fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    for (const { name, value } of xattrs) setXattr(fd, name, value);
  } catch (error) {
    if (systemCode(error) !== 'ENOTSUP') throw error;
  } finally {
    closeSync(fd);
  }
}

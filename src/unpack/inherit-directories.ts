/**
 * Directories that a layer needs and does not list: in the merged tree they are what the layers below say,
 * but overlayfs shows the attributes of the topmost. So they are copied up, as containerd does it.
 */

import { closeSync, constants, openSync } from 'node:fs';
import { systemCode } from '../common/errors.js';
import {
  O,
  changeMode,
  changeOwner,
  closeDescriptor,
  openAt,
  setTimes,
  setXattr,
} from '../ffi/at-calls.js';
import { S_IF } from '../index/modes.js';
import type { ByteString } from '../index/tar-header.js';
import { type LowerDirectory, type LowerLayer, LowerLayers } from './lower-layer.js';
import { UNSUPPORTED } from './attributes.js';
import { BENEATH } from './rooted-look.js';

export interface InheritOptions {
  /** Folder of the layer. */
  target: string;
  /** Its implicit directories: paths from the root, one character a byte. */
  directories: readonly ByteString[];
  /** The layers below, nearest first. */
  parents: readonly LowerLayer[];
}

/**
 * Gives each directory the attributes that the nearest layer below has for it.
 * @returns those that no layer below has, or has as something else; they stay as they are
 */
export function inheritDirectories(options: InheritOptions): ByteString[] {
  const { target, directories, parents } = options;
  if (directories.length === 0 || parents.length === 0) return [...directories];
  using below = new LowerLayers(parents);
  const root = openSync(target, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    return directories.filter((path) => {
      const found = below.directory(path);
      if (found !== undefined) setAttributes(root, path, found);
      return found === undefined;
    });
  } finally {
    closeSync(root);
  }
}

/** Gives the directory at `path` below `root` what `from` has, but for attributes that the file system does not take. */
export function setAttributes(root: number, path: ByteString, from: LowerDirectory): void {
  const to = openAt(root, path === '' ? '.' : path, O.RDONLY | O.DIRECTORY, 0, BENEATH);
  try {
    changeOwner(to, from.uid, from.gid);
    for (const { name, value } of from.xattrs) trySetXattr(to, name, value);
    changeMode(to, from.mode & ~S_IF.MT);
    setTimes(to, from.mtimeSeconds, from.mtimeNanoseconds);
  } finally {
    closeDescriptor(to);
  }
}

function trySetXattr(fd: number, name: ByteString, value: Buffer): void {
  try {
    setXattr(fd, name, value);
  } catch (error) {
    if (!UNSUPPORTED.has(systemCode(error) ?? '')) throw error;
  }
}

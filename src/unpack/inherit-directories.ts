/**
 * Directories that a layer needs and does not list: in the merged tree they are what the layers below say,
 * but overlayfs shows the attributes of the topmost. So they are copied up, as containerd does it.
 */

import { closeSync, constants, openSync } from 'node:fs';
import { systemCode } from '../common/errors.js';
import {
  O,
  RESOLVE,
  changeMode,
  changeOwner,
  closeDescriptor,
  openAt,
  setTimes,
  setXattr,
  statusAt,
  xattrNamesOf,
  xattrOf,
} from '../ffi/at-calls.js';
import { S_IF } from '../index/modes.js';
import type { ByteString } from '../index/tar-header.js';
import { BENEATH } from './rooted-directories.js';

export interface InheritOptions {
  /** Folder of the layer. */
  target: string;
  /** Its implicit directories: paths from the root, one character a byte. */
  directories: readonly ByteString[];
  /** Folders of the layers below, nearest first. */
  parents: readonly string[];
}

/**
 * Gives each directory the attributes that the nearest layer below has for it.
 * @returns those that no layer below has, or has as something else; they stay as they are
 */
export function inheritDirectories(options: InheritOptions): ByteString[] {
  const { target, directories, parents } = options;
  if (directories.length === 0 || parents.length === 0) return [...directories];
  const opened: number[] = [];
  const open = (path: string): number => {
    const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
    opened.push(fd);
    return fd;
  };
  try {
    const root = open(target);
    const below = parents.map(open);
    return directories.filter((path) => !inherit(root, path, below));
  } finally {
    for (const fd of opened) closeSync(fd);
  }
}

function inherit(root: number, path: ByteString, parents: readonly number[]): boolean {
  for (const parent of parents) {
    const from = openInherited(parent, path);
    if (from === 'missing') continue;
    if (from === 'other') return false;
    try {
      copyAttributes(from, root, path);
    } finally {
      closeDescriptor(from);
    }
    return true;
  }
  return false;
}

/**
 * Opens what a layer has for a directory, symlinks followed as if its folder were `/`.
 * @returns a descriptor; `other`: the layer has something else there, which hides what is below
 */
export function openInherited(root: number, path: ByteString): number | 'missing' | 'other' {
  try {
    const resolve = RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS;
    return openAt(root, path, O.RDONLY | O.DIRECTORY, 0, resolve);
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT') return 'missing';
    if (code === 'ENOTDIR' || code === 'ELOOP') return 'other';
    throw error;
  }
}

/** Gives the directory at `path` below `root` what `from` has; overlay's marks are about a layer, not a directory. */
export function copyAttributes(from: number, root: number, path: ByteString): void {
  const to = openAt(root, path, O.RDONLY | O.DIRECTORY, 0, BENEATH);
  try {
    const { uid, gid, mode, mtimeSeconds, mtimeNanoseconds } = statusAt(from, '');
    changeOwner(to, uid, gid);
    for (const name of attributeNames(from)) {
      const value = xattrOf(from, name);
      if (value !== undefined) setXattr(to, name, value);
    }
    changeMode(to, mode & ~S_IF.MT);
    setTimes(to, mtimeSeconds, mtimeNanoseconds);
  } finally {
    closeDescriptor(to);
  }
}

/** Names of the extended attributes that a directory hands on. */
export function attributeNames(fd: number): ByteString[] {
  return xattrNamesOf(fd).filter(
    (name) => !name.startsWith('trusted.') && !name.startsWith('user.overlay.'),
  );
}

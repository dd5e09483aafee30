/** What a layer's index says of a file, as an entry of a tar does, and whether a file system has taken it. */

import { closeSync, constants, openSync } from 'node:fs';
import { SiphonError } from '../common/errors.js';
import { O, closeDescriptor, openAt, statusAt, xattrNamesOf, xattrOf } from '../ffi/at-calls.js';
import type { Inode, LayerIndex } from '../index/layer-index.js';
import { S_IF, isDirectory } from '../index/modes.js';
import { keepsXattr } from '../index/overlay-form.js';
import type { TarEntry, Xattr } from '../index/tar-entry.js';
import { type ByteString, printable } from '../index/tar-header.js';
import { BENEATH } from './rooted-look.js';

/** The entry of a regular file or directory, without overlay's marks. */
export function entryOf(index: LayerIndex, inode: Inode, path: ByteString): TarEntry {
  return {
    type: isDirectory(inode.mode) ? 'directory' : 'file',
    path,
    mode: inode.mode & ~S_IF.MT,
    uid: inode.uid,
    gid: inode.gid,
    size: isDirectory(inode.mode) ? 0 : inode.size,
    mtimeSeconds: inode.mtimeSeconds,
    mtimeNanoseconds: inode.mtimeNanoseconds,
    linkPath: '',
    devMajor: 0,
    devMinor: 0,
    xattrs: xattrsOf(index, inode.ino),
  };
}

/** Those that are not overlay's. */
function xattrsOf(index: LayerIndex, ino: number): Xattr[] {
  return index.xattrNames(ino).flatMap((name) => {
    const value = index.xattr(ino, name);
    const text = name.toString('latin1');
    if (value === undefined || !keepsXattr(text, true)) return [];
    return [{ name: text, value: value.toString('latin1') }];
  });
}

/**
 * Compares regular files and directories below `target` with what the index says of them.
 * @throws SiphonError `unsupported` where the file system has made of an attribute what the layer has not
 */
export function checkAttributes(
  index: LayerIndex,
  target: string,
  inodes: Iterable<readonly [path: ByteString, inode: Inode]>,
): void {
  const root = openSync(target, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    for (const [path, inode] of inodes) checkFile(index, { root, path, inode });
  } finally {
    closeSync(root);
  }
}

function checkFile(
  index: LayerIndex,
  { root, path, inode }: { root: number; path: ByteString; inode: Inode },
): void {
  const fd = openAt(root, path === '' ? '.' : path, O.RDONLY, 0, BENEATH);
  try {
    const status = statusAt(fd, '');
    const wanted = xattrsOf(index, inode.ino);
    const names = new Set(wanted.map(({ name }) => name));
    // A label is the file system's own.
    const others = xattrNamesOf(fd).filter(
      (name) => !names.has(name) && name !== 'security.selinux',
    );
    const isSame =
      status.mode === inode.mode &&
      status.uid === inode.uid &&
      status.gid === inode.gid &&
      status.mtimeSeconds === inode.mtimeSeconds &&
      status.mtimeNanoseconds === inode.mtimeNanoseconds &&
      others.length === 0 &&
      wanted.every(({ name, value }) => xattrOf(fd, name)?.toString('latin1') === value);
    if (isSame) return;
  } finally {
    closeDescriptor(fd);
  }
  throw new SiphonError(
    'unsupported',
    `Cannot write layer "${index.info.blobDigest}" as files: this file system does not take the attributes of "${printable(path)}"`,
  );
}

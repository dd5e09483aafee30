/** Removing what a directory holds, by descriptors, so that no symlink leads elsewhere. */

import { readdirSync } from 'node:fs';
import { systemCode } from '../common/errors.js';
import { O, closeDescriptor, openAt, unlinkAt } from '../ffi/at-calls.js';
import type { ByteString } from '../index/tar-header.js';
import { BENEATH } from './rooted-look.js';

/** The names in an open directory, without `.` and `..`. */
export function namesIn(directory: number): ByteString[] {
  return readdirSync(`/proc/self/fd/${directory}`, 'latin1');
}

/** Removes a file or a directory with all below it. */
export function removeTree(parent: number, name: ByteString): void {
  try {
    unlinkAt(parent, name);
  } catch (error) {
    // POSIX says EPERM for a directory, Linux EISDIR.
    if (systemCode(error) !== 'EISDIR') throw error;
    removeDirectory(parent, name);
  }
}

function removeDirectory(parent: number, name: ByteString): void {
  const fd = openAt(parent, name, O.RDONLY | O.DIRECTORY, 0, BENEATH);
  try {
    for (const child of namesIn(fd)) removeTree(fd, child);
  } finally {
    closeDescriptor(fd);
  }
  unlinkAt(parent, name, true);
}

/**
 * Owner, mode, extended attributes and times of one file, in the order that keeps each: a change of
 * owner takes set-id bits and capabilities away, and writing may as well. System calls that would change
 * nothing are left out, since most files of most layers belong to root.
 */

import { systemCode } from '../common/errors.js';
import {
  changeMode,
  changeModeAt,
  changeOwner,
  changeOwnerAt,
  removeXattr,
  setTimes,
  setTimesAt,
  setXattr,
  setXattrAt,
  statusAt,
  xattrNamesOf,
} from '../ffi/at-calls.js';
import { toBytes } from '../index/byte-path.js';
import { S_IF, isDirectory, isRegular, isSymlink } from '../index/modes.js';
import { keepsXattr } from '../index/overlay-form.js';
import type { TarEntry } from '../index/tar-entry.js';
import { type ByteString, printable } from '../index/tar-header.js';
import { xattrProblem } from '../index/xattr-rules.js';
import type { Directory } from './rooted-directories.js';
import { cannotUnpack } from './unpack-error.js';

/** Permission bits that every way of making a file takes; set-id bits come last, by chmod. */
export const MADE_WITH = 0o777;
/** `ENOTSUP` and `EPERM`: the file system, or this type of file, has no such attributes. */
export const UNSUPPORTED = new Set(['ENOTSUP', 'EOPNOTSUPP', 'EPERM']);

export class Attributes {
  /** Attributes that the file system did not take. */
  ignoredXattrs = 0;
  readonly #uid = process.geteuid?.() ?? 0;
  readonly #gid = process.getegid?.() ?? 0;

  /** Of an open file that was just made in `parent` with its mode's {@link MADE_WITH}. */
  ofNewFile(fd: number, parent: Directory, entry: TarEntry): void {
    if (this.#needsOwner(parent, entry)) changeOwner(fd, entry.uid, entry.gid);
    this.#setXattrs(entry, S_IF.REG, (name, value) => setXattr(fd, name, value));
    if (needsMode(parent, entry)) changeMode(fd, entry.mode);
    setTimes(fd, entry.mtimeSeconds, entry.mtimeNanoseconds);
  }

  /** Of anything else that was just made so; `type` is of `S_IF`. A directory's time is not set. */
  ofNewNode(parent: Directory, name: ByteString, entry: TarEntry, type: number): void {
    if (this.#needsOwner(parent, entry)) changeOwnerAt(parent.fd, name, entry.uid, entry.gid);
    this.#setXattrs(entry, type, (xattr, value) => setXattrAt(parent.fd, name, xattr, value));
    if (!isSymlink(type) && needsMode(parent, entry)) changeModeAt(parent.fd, name, entry.mode);
    if (isDirectory(type)) return;
    setTimesAt(parent.fd, name, entry.mtimeSeconds, entry.mtimeNanoseconds);
  }

  /** Of a file or directory that was there before. A directory's time is not set. */
  ofExisting(parent: Directory, name: ByteString, entry: TarEntry): void {
    const before = statusAt(parent.fd, name);
    const ownerChanges = before.uid !== entry.uid || before.gid !== entry.gid;
    if (ownerChanges) changeOwnerAt(parent.fd, name, entry.uid, entry.gid);
    this.#setXattrs(entry, before.mode, (xattr, value) =>
      setXattrAt(parent.fd, name, xattr, value),
    );
    const modeChanges = ownerChanges || (before.mode & ~S_IF.MT) !== entry.mode;
    if (modeChanges && !isSymlink(before.mode)) changeModeAt(parent.fd, name, entry.mode);
    if (isDirectory(before.mode)) return;
    setTimesAt(parent.fd, name, entry.mtimeSeconds, entry.mtimeNanoseconds);
  }

  /** Of the root itself, whose time is not set. */
  ofRoot(fd: number, entry: TarEntry): void {
    changeOwner(fd, entry.uid, entry.gid);
    this.#setXattrs(entry, S_IF.DIR, (name, value) => setXattr(fd, name, value));
    changeMode(fd, entry.mode);
  }

  #needsOwner(parent: Directory, entry: TarEntry): boolean {
    return !parent.plain || entry.uid !== this.#uid || entry.gid !== this.#gid;
  }

  #setXattrs(entry: TarEntry, mode: number, set: (name: ByteString, value: Buffer) => void): void {
    const isFileOrDirectory = isDirectory(mode) || isRegular(mode);
    for (const { name, value } of entry.xattrs) {
      const problem = xattrProblem(name, value, isFileOrDirectory);
      if (problem !== undefined)
        throw cannotUnpack(entry, `its xattr "${printable(name.slice(0, 255))}" ${problem}`);
      if (!keepsXattr(name, isFileOrDirectory)) continue;
      try {
        set(name, toBytes(value));
      } catch (error) {
        if (!UNSUPPORTED.has(systemCode(error) ?? '')) throw error;
        this.ignoredXattrs += 1;
      }
    }
  }
}

/** Takes from a directory what a layer below gave it, but for overlayfs' own marks. */
export function clearXattrs(directory: number): void {
  for (const name of xattrNamesOf(directory)) {
    if (!name.startsWith('trusted.overlay.') && name !== 'security.selinux')
      removeXattr(directory, name);
  }
}

function needsMode(parent: Directory, entry: TarEntry): boolean {
  return !parent.plain || (entry.mode & ~MADE_WITH) !== 0;
}

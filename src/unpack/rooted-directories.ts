/**
 * The directories of a tree, reached without ever leaving it. A path is opened by openat2(2) with
 * `RESOLVE_BENEATH` and `RESOLVE_NO_SYMLINKS`, so that the kernel refuses whatever would lead out, also if
 * somebody changes the tree meanwhile; all else is then done relative to the descriptor. A path that
 * leads through symlinks, or is not there yet, is walked first to learn its name without symlinks, which
 * are taken as if the tree's root were `/`. A walk that is overtaken by a change ends in an error.
 *
 * Descriptors are kept, the last used ones, for tars go folder by folder.
 */

import { LRUCache } from 'lru-cache';
import { systemCode } from '../common/errors.js';
import {
  O,
  changeModeAt,
  closeDescriptor,
  makeDirectoryAt,
  openAt,
  statusAt,
  xattrOf,
} from '../ffi/at-calls.js';
import { SystemError } from '../ffi/libc.js';
import { hardLinkPath, rootPath } from '../index/root-path.js';
import type { ByteString } from '../index/tar-header.js';
import { BENEATH, lookBeneath } from './rooted-look.js';

/** A directory that is open; valid until another one is asked for. */
export interface Directory {
  fd: number;
  /** From the root, without symlinks; empty for the root. */
  path: ByteString;
  /** Whether what is made in it gets just the mode and group that it is made with. */
  plain: boolean;
}

export interface FileTime {
  seconds: number;
  nanoseconds: number;
}

export interface DirectoryListener {
  /** A directory is opened, before anything is done in it; perhaps not for the first time. */
  opened(path: ByteString, time: FileTime): void;
  /** A directory was made because something is to be in it. */
  made(path: ByteString): void;
}

/** Mode of directories that no entry describes. */
const IMPLICIT_MODE = 0o755;
const MAX_OPEN = 128;
const S_ISGID = 0o2000;
const DEFAULT_ACL = 'system.posix_acl_default';
const ENOTDIR = 20;

export class RootedDirectories {
  readonly #root: number;
  readonly #listener: DirectoryListener;
  readonly #exactModes: boolean;
  readonly #open: LRUCache<ByteString, Directory>;

  /**
   * @param root descriptor of the root, which stays the caller's
   * @param exactModes whether no umask applies
   */
  constructor(root: number, exactModes: boolean, listener: DirectoryListener) {
    this.#root = root;
    this.#exactModes = exactModes;
    this.#listener = listener;
    this.#open = new LRUCache<ByteString, Directory>({
      max: MAX_OPEN,
      dispose: ({ fd }) => closeDescriptor(fd),
    });
  }

  /** The directory at `path`, as {@link SplitPath.directory} has it; what is missing is made. */
  ensure(path: ByteString): Directory {
    return this.#known(path) ?? this.#walked(path, true);
  }

  /** Where the target of a hard link is. @throws SystemError `ENOENT` where its directory is not there */
  linked(target: ByteString): { directory: Directory; name: ByteString } {
    const { directory, name = '.' } = hardLinkPath(target, (names) => this.#linkAt(names));
    return { directory: this.#known(directory) ?? this.#walked(directory, false), name };
  }

  /** As {@link existing}, by a path as {@link Directory.path} has it. */
  at(path: ByteString): Directory {
    const known = this.#open.get(path);
    // What was asked for by this path may have been found through a symlink.
    return known?.path === path ? known : this.#openStrictly(path, path);
  }

  /** Closes all: because a directory or symlink changed its meaning, or at the end. */
  forget(): void {
    this.#open.clear();
  }

  /** `undefined` where the path needs a walk. */
  #known(path: ByteString): Directory | undefined {
    const plain = path.replace(/^\/+/, '');
    const open = this.#open.get(plain);
    if (open?.path === plain) return open;
    return this.#open.get(path) ?? this.#tryOpen(plain);
  }

  #tryOpen(path: ByteString): Directory | undefined {
    try {
      return this.#openStrictly(path, path);
    } catch (error) {
      const code = systemCode(error);
      if (code === 'ENOENT' || code === 'ELOOP') return undefined;
      throw error;
    }
  }

  #openStrictly(path: ByteString, key: ByteString): Directory {
    const fd = openAt(this.#root, path === '' ? '.' : path, O.RDONLY | O.DIRECTORY, 0, BENEATH);
    const directory = { fd, path, plain: false };
    this.#open.set(key, directory);
    const status = statusAt(fd, '');
    const { mtimeSeconds: seconds, mtimeNanoseconds: nanoseconds } = status;
    this.#listener.opened(path, { seconds, nanoseconds });
    directory.plain =
      this.#exactModes && (status.mode & S_ISGID) === 0 && xattrOf(fd, DEFAULT_ACL) === undefined;
    return directory;
  }

  #walked(path: ByteString, make: boolean): Directory {
    const { found, missing } = this.#split(rootPath(path, (names) => this.#linkAt(names)));
    if (make) {
      for (const name of missing) {
        this.#make(found.join('/'), name);
        found.push(name);
      }
    } else found.push(...missing);
    return this.#openStrictly(found.join('/'), path);
  }

  #make(parent: ByteString, name: ByteString): void {
    const { fd, path, plain } = this.at(parent);
    makeDirectoryAt(fd, name, IMPLICIT_MODE);
    if (!plain) changeModeAt(fd, name, IMPLICIT_MODE);
    this.#listener.made(path === '' ? name : `${path}/${name}`);
  }

  /** How far a path without links exists. The results are names to try, not promises. */
  #split(names: readonly ByteString[]): { found: ByteString[]; missing: ByteString[] } {
    let count = 0;
    while (count < names.length && this.#isDirectory(names.slice(0, count + 1))) count += 1;
    return { found: names.slice(0, count), missing: names.slice(count) };
  }

  #linkAt(names: readonly ByteString[]): ByteString | undefined {
    const found = lookBeneath(this.#root, names);
    return typeof found === 'object' ? found.target : undefined;
  }

  #isDirectory(names: readonly ByteString[]): boolean {
    const found = lookBeneath(this.#root, names);
    if (found === 'file') throw new SystemError('openat2', ENOTDIR, 'a file in place of a folder');
    return found === 'directory';
  }
}

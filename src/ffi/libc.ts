/**
 * The system calls that Node lacks, by FFI from the running process (koffi). Each wrapper throws a
 * {@link SystemError} with the errno. They block the calling thread: a mount or umount may look into a
 * FUSE mount of this very process only because its workers answer look-ups without the main thread.
 */

import { koffi } from './koffi.js';
import { closeSync, openSync } from 'node:fs';
import { constants } from 'node:os';

/** A failed system call. `code` is the errno's name, as Node's own system errors have it. */
export class SystemError extends Error {
  override readonly name = 'SystemError';
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;

  constructor(syscall: string, errno: number, subject: string) {
    const code = errnoName(errno);
    super(`${code}: ${syscall} ${subject}`);
    this.code = code;
    this.errno = errno;
    this.syscall = syscall;
  }
}

/** Flags of mount(2), from <sys/mount.h>. */
export const MS = {
  RDONLY: 1,
  NOSUID: 2,
  NODEV: 4,
  NOEXEC: 8,
  REMOUNT: 32,
  BIND: 4096,
  REC: 16384,
  PRIVATE: 1 << 18,
} as const;

/** Flags of umount2(2). */
export const MNT = { FORCE: 1, DETACH: 2, NOFOLLOW: 8 } as const;

const process_ = koffi.load(null);
const mount_ = process_.func(
  'int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)',
);
const umount2_ = process_.func('int umount2(const char *target, int flags)');
const syncfs_ = process_.func('int syncfs(int descriptor)');
const fallocate_ = process_.func(
  'int fallocate(int descriptor, int mode, int64_t offset, int64_t length)',
);
const posix_fadvise_ = process_.func(
  'int posix_fadvise(int descriptor, int64_t offset, int64_t length, int advice)',
);
const flock_ = process_.func('int flock(int descriptor, int operation)');
const POSIX_FADV_WILLNEED = 3;
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;
const LOCK_UN = 8;

/** mount(2). `data` is the options string of the file system, at most one page. */
export function mount(options: MountCall): void {
  const { source, target, type, flags = 0, data = null } = options;
  if (mount_(source, target, type, flags, data) !== 0) {
    throw new SystemError('mount', koffi.errno(), target);
  }
}

export interface MountCall {
  source: string;
  target: string;
  /** File system type; empty for bind mounts and remounts. */
  type: string;
  flags?: number;
  data?: string | null;
}

/** umount2(2). */
export function umount(target: string, flags = 0): void {
  if (umount2_(target, flags) !== 0) throw new SystemError('umount2', koffi.errno(), target);
}

/** syncfs(2): resolves when all that was written to the file system of a folder is on disk for good. */
export async function syncFileSystem(folder: string): Promise<void> {
  using disk = new FileSystemSync(folder);
  await disk.run();
}

/**
 * syncfs(2) of the file system that a folder lies on, for what is written after this was opened: the kernel tells each
 * descriptor of what failed since it was opened, but of what failed before only whoever asks first.
 */
export class FileSystemSync implements Disposable {
  readonly #folder: string;
  readonly #fd: number;
  /** Whoever opened it, and what runs. */
  #users = 1;

  /** @throws the system error */
  constructor(folder: string) {
    this.#folder = folder;
    this.#fd = openSync(folder, 'r');
  }

  /** Resolves when all that was written is on disk for good. @throws SystemError `EIO` where some of it is not */
  run(): Promise<void> {
    this.#users += 1;
    return new Promise((resolve, reject) => {
      syncfs_.async(this.#fd, (error: Error | null, result: number) => {
        this.#leave();
        if (error !== null) reject(error);
        else if (result === 0) resolve();
        // The errno stays in the thread that made the call.
        else reject(new SystemError('syncfs', constants.errno.EIO, this.#folder));
      });
    });
  }

  /** What runs goes on, unheard. */
  [Symbol.dispose](): void {
    this.#leave();
  }

  #leave(): void {
    this.#users -= 1;
    if (this.#users === 0) closeSync(this.#fd);
  }
}

/** fallocate(2): gives the bytes back to the file system; from then on they read as zeros. */
export function punchHole(descriptor: number, offset: number, length: number): void {
  const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  if (fallocate_(descriptor, mode, offset, length) !== 0) {
    throw new SystemError('fallocate', koffi.errno(), String(descriptor));
  }
}

/** posix_fadvise(2): the kernel begins to read these bytes from the disk; nobody waits for them. */
export function willNeed(descriptor: number, offset: number, length: number): void {
  // It returns the errno instead of setting it.
  const errno = Number(posix_fadvise_(descriptor, offset, length, POSIX_FADV_WILLNEED));
  if (errno !== 0) throw new SystemError('posix_fadvise', errno, String(descriptor));
}

/**
 * Waits for the exclusive lock on an open file (flock(2)) and takes it; it goes with {@link unlockFile},
 * the descriptor, or the process. Only for work of a moment: the thread stands still meanwhile.
 */
export function lockFile(descriptor: number): void {
  if (flock_(descriptor, LOCK_EX) !== 0) {
    throw new SystemError('flock', koffi.errno(), String(descriptor));
  }
}

/** As {@link lockFile}, but without waiting. @returns whether the lock was to be had */
export function tryLockFile(descriptor: number): boolean {
  if (flock_(descriptor, LOCK_EX | LOCK_NB) === 0) return true;
  if (koffi.errno() === constants.errno.EWOULDBLOCK) return false;
  throw new SystemError('flock', koffi.errno(), String(descriptor));
}

/** As {@link lockFile}, for a lock that several may have at once; in place of an exclusive one. */
export function shareFile(descriptor: number): void {
  if (flock_(descriptor, LOCK_SH) !== 0) {
    throw new SystemError('flock', koffi.errno(), String(descriptor));
  }
}

export function unlockFile(descriptor: number): void {
  if (flock_(descriptor, LOCK_UN) !== 0) {
    throw new SystemError('flock', koffi.errno(), String(descriptor));
  }
}

function errnoName(errno: number): string {
  for (const [name, value] of Object.entries(constants.errno)) if (value === errno) return name;
  return `errno ${errno}`;
}

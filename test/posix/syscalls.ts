/**
 * The system calls that Node lacks, as a program would make them. Each returns what the kernel said, or
 * throws a {@link CallError} with the errno's name; nothing is made up in between. Paths are bytes.
 *
 * They block this thread: what serves the files must be another process.
 */

import koffi from 'koffi';
import { constants } from 'node:os';

export class CallError extends Error {
  readonly code: string;

  constructor(call: string) {
    const errno = koffi.errno();
    const names = Object.entries(constants.errno);
    const code = names.find(([, value]) => value === errno)?.[0] ?? `errno ${errno}`;
    super(`${call}: ${code}`);
    this.code = code;
  }
}

export type Path = string | Buffer;

const libc = koffi.load(null);
const getdents64 = libc.func('int64_t getdents64(int fd, _Out_ void *buffer, size_t size)');
const lseek_ = libc.func('int64_t lseek(int fd, int64_t offset, int whence)');
const lgetxattr_ = libc.func(
  'int64_t lgetxattr(const void *path, const void *name, _Out_ void *value, size_t size)',
);
const llistxattr_ = libc.func(
  'int64_t llistxattr(const void *path, _Out_ void *list, size_t size)',
);
const lsetxattr_ = libc.func(
  'int lsetxattr(const void *path, const void *name, const void *value, size_t size, int flags)',
);
const lremovexattr_ = libc.func('int lremovexattr(const void *path, const void *name)');
const mknod_ = libc.func('int mknod(const void *path, unsigned int mode, uint64_t device)');
const mmap_ = libc.func(
  'void *mmap(void *address, size_t length, int protection, int flags, int fd, int64_t offset)',
);
const munmap_ = libc.func('int munmap(void *address, size_t length)');
const pread_ = libc.func('int64_t pread(int fd, void *buffer, size_t size, int64_t offset)');
const sendfile_ = libc.func(
  'int64_t sendfile(int out, int in, _Inout_ int64_t *offset, size_t count)',
);
const splice_ = libc.func(
  'int64_t splice(int in, _Inout_ int64_t *inOffset, int out, void *outOffset, size_t length, unsigned int flags)',
);
const inotifyInit_ = libc.func('int inotify_init1(int flags)');
const inotifyAddWatch_ = libc.func(
  'int inotify_add_watch(int fd, const void *path, uint32_t mask)',
);
const fanotifyInit_ = libc.func('int fanotify_init(unsigned int flags, unsigned int eventFlags)');
const fanotifyMark_ = libc.func(
  'int fanotify_mark(int fd, unsigned int flags, uint64_t mask, int directory, const void *path)',
);
const flock_ = libc.func('int flock(int fd, int operation)');

export const SEEK = { SET: 0, CUR: 1, END: 2, DATA: 3, HOLE: 4 } as const;
export const PROT = { READ: 1, WRITE: 2 } as const;
export const MAP = { SHARED: 1, PRIVATE: 2 } as const;

function checked(call: string, result: unknown): number {
  const value = Number(result);
  if (value < 0) throw new CallError(call);
  return value;
}

function cString(text: Path): Buffer {
  return Buffer.concat([Buffer.from(text), Buffer.alloc(1)]);
}

export interface DirectoryEntry {
  name: string;
  ino: bigint;
  type: number;
  /** Where the listing goes on after this entry. */
  offset: bigint;
}

/** One getdents64(2). @returns nothing at the end; names as latin1 */
export function readDirectory(fd: number, size = 4096): DirectoryEntry[] {
  const buffer = Buffer.alloc(size);
  const end = checked('getdents64', getdents64(fd, buffer, size));
  const entries: DirectoryEntry[] = [];
  for (let at = 0; at < end; at += buffer.readUInt16LE(at + 16)) {
    const nul = buffer.indexOf(0, at + 19);
    entries.push({
      name: buffer.toString('latin1', at + 19, nul),
      ino: buffer.readBigUInt64LE(at),
      type: buffer.readUInt8(at + 18),
      offset: buffer.readBigInt64LE(at + 8),
    });
  }
  return entries;
}

export function seek(fd: number, offset: number | bigint, whence: number = SEEK.SET): number {
  return checked('lseek', lseek_(fd, offset, whence));
}

/** Where the descriptor stands; a folder's offset may have 63 bits. */
export function tell(fd: number): bigint {
  const at: unknown = lseek_(fd, 0, SEEK.CUR);
  checked('lseek', at);
  return BigInt(at as number | bigint); // as koffi gives integers of 64 bits
}

/** With `size` 0 how much room the value takes. */
export function getXattr(
  path: Path,
  name: string,
  size: number,
): { length: number; bytes: Buffer } {
  const bytes = Buffer.alloc(size);
  const length = checked('lgetxattr', lgetxattr_(cString(path), cString(name), bytes, size));
  return { length, bytes: bytes.subarray(0, length) };
}

export function listXattrs(path: Path, size: number): { length: number; bytes: Buffer } {
  const bytes = Buffer.alloc(size);
  const length = checked('llistxattr', llistxattr_(cString(path), bytes, size));
  return { length, bytes: bytes.subarray(0, length) };
}

export function setXattr(path: Path, name: string, value: Buffer): void {
  checked('lsetxattr', lsetxattr_(cString(path), cString(name), value, value.length, 0));
}

export function removeXattr(path: Path, name: string): void {
  checked('lremovexattr', lremovexattr_(cString(path), cString(name)));
}

export function makeNode(path: Path, mode: number, device: number): void {
  checked('mknod', mknod_(cString(path), mode, device));
}

/** Maps part of a file. @returns what `use` makes of the bytes, which are gone afterwards */
export function mapped<T>(
  map: { fd: number; length: number; protection: number; flags: number; offset?: number },
  use: (bytes: Buffer) => T,
): T {
  const { fd, length, protection, flags, offset = 0 } = map;
  const address: unknown = mmap_(null, length, protection, flags, fd, offset);
  if (koffi.address(address) === MAP_FAILED) throw new CallError('mmap');
  try {
    return use(Buffer.from(koffi.view(address, length)));
  } finally {
    munmap_(address, length);
  }
}

const MAP_FAILED = 2n ** 64n - 1n;
const MAP_ANONYMOUS = 0x20;

/** pread(2) into memory that begins at a page, as O_DIRECT wants it. */
export function readAligned(fd: number, length: number, offset: number): Buffer {
  const protection = PROT.READ | PROT.WRITE;
  const memory: unknown = mmap_(null, length, protection, MAP.PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (koffi.address(memory) === MAP_FAILED) throw new CallError('mmap');
  try {
    const count = checked('pread', pread_(fd, memory, length, offset));
    return Buffer.from(Buffer.from(koffi.view(memory, length)).subarray(0, count));
  } finally {
    munmap_(memory, length);
  }
}

export function sendFile(out: number, from: number, offset: number, count: number): number {
  return checked('sendfile', sendfile_(out, from, [offset], count));
}

/** Into a pipe. */
export function splice(from: number, offset: number, out: number, count: number): number {
  return checked('splice', splice_(from, [offset], out, null, count, 0));
}

const IN_NONBLOCK = 0o4000;
const IN_ACCESS = 1;
const IN_OPEN = 0x20;

/** A descriptor that tells of each open and read of a file or in a folder. */
export function watchByInotify(path: Path): number {
  const fd = checked('inotify_init1', inotifyInit_(IN_NONBLOCK));
  checked('inotify_add_watch', inotifyAddWatch_(fd, cString(path), IN_ACCESS | IN_OPEN));
  return fd;
}

const FAN_NONBLOCK = 2;
const FAN_MARK_ADD = 1;
const FAN_MARK_MOUNT = 0x10;
const FAN_ACCESS = 1;
const FAN_OPEN = 0x20;
const AT_FDCWD = -100;

/** A descriptor that tells of each open and read in the mount that the path is in. */
export function watchByFanotify(path: Path): number {
  const fd = checked('fanotify_init', fanotifyInit_(FAN_NONBLOCK, 0));
  const flags = FAN_MARK_ADD | FAN_MARK_MOUNT;
  const marked: unknown = fanotifyMark_(fd, flags, FAN_ACCESS | FAN_OPEN, AT_FDCWD, cString(path));
  checked('fanotify_mark', marked);
  return fd;
}

const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;

export function lock(fd: number, kind: 'shared' | 'exclusive'): void {
  checked('flock', flock_(fd, (kind === 'shared' ? LOCK_SH : LOCK_EX) | LOCK_NB));
}

/**
 * System calls that name a file by the descriptor of its directory, which Node lacks, by FFI from the
 * running process (koffi). They block the calling thread. Names are byte strings (one character a byte),
 * because file names need not be UTF-8. Each throws a {@link SystemError} with the errno.
 */

import { koffi } from './koffi.js';
import { chmodSync } from 'node:fs';
import { SystemError } from './libc.js';

/** Bytes as text, one character (U+0000 to U+00FF) a byte. */
type ByteString = string;

/** Flags of open(2) on Linux, which Node's constants give in part. */
export const O = {
  RDONLY: 0,
  WRONLY: 1,
  CREAT: 0o100,
  EXCL: 0o200,
  DIRECTORY: process.arch === 'arm64' ? 0o40000 : 0o200000,
  NOFOLLOW: process.arch === 'arm64' ? 0o100000 : 0o400000,
  CLOEXEC: 0o2000000,
  PATH: 0o10000000,
} as const;

/** How openat2(2) resolves a path (<linux/openat2.h>). */
export const RESOLVE = { NO_MAGICLINKS: 2, NO_SYMLINKS: 4, BENEATH: 8, IN_ROOT: 16 } as const;

/** What statx(2) tells of a file. */
export interface FileStatus {
  /** With the type bits. */
  mode: number;
  uid: number;
  gid: number;
  mtimeSeconds: number;
  mtimeNanoseconds: number;
}

/** The same number on every architecture. */
const SYS_openat2 = 437;
const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_REMOVEDIR = 0x200;
const AT_EMPTY_PATH = 0x1000;
const STATX_BASIC_STATS = 0x7ff;
const STATX_SIZE = 256;
const OPEN_HOW_SIZE = 24;
const CLONE_FS = 0x200;
/** PATH_MAX, which includes the NUL at the end. */
const PATH_SIZE = 4096;
/** XATTR_NAME_MAX and a NUL. */
const XATTR_NAME_SIZE = 256;

const libc = koffi.load(null);
const openat2_ = libc.func(
  'long syscall(long number, int directory, const void *path, const void *how, size_t size)',
);
const mkdirat_ = libc.func('int mkdirat(int directory, const void *path, unsigned int mode)');
const symlinkat_ = libc.func('int symlinkat(const void *target, int directory, const void *path)');
const linkat_ = libc.func(
  'int linkat(int from, const void *source, int directory, const void *path, int flags)',
);
const unlinkat_ = libc.func('int unlinkat(int directory, const void *path, int flags)');
const readlinkat_ = libc.func(
  'long readlinkat(int directory, const void *path, void *buffer, size_t size)',
);
const fchown_ = libc.func('int fchown(int fd, unsigned int uid, unsigned int gid)');
const fchownat_ = libc.func(
  'int fchownat(int directory, const void *path, unsigned int uid, unsigned int gid, int flags)',
);
const fchmod_ = libc.func('int fchmod(int fd, unsigned int mode)');
const futimens_ = libc.func('int futimens(int fd, const void *times)');
const utimensat_ = libc.func(
  'int utimensat(int directory, const void *path, const void *times, int flags)',
);
const statx_ = libc.func(
  'int statx(int directory, const void *path, int flags, unsigned int mask, void *status)',
);
const fsetxattr_ = libc.func(
  'int fsetxattr(int fd, const void *name, const void *value, size_t size, int flags)',
);
const lsetxattr_ = libc.func(
  'int lsetxattr(const void *path, const void *name, const void *value, size_t size, int flags)',
);
const fgetxattr_ = libc.func('long fgetxattr(int fd, const void *name, void *value, size_t size)');
const flistxattr_ = libc.func('long flistxattr(int fd, void *list, size_t size)');
const fremovexattr_ = libc.func('int fremovexattr(int fd, const void *name)');
const close_ = libc.func('int close(int fd)');
const unshare_ = libc.func('int unshare(int flags)');
const umask_ = libc.func('unsigned int umask(unsigned int mask)');
/** Not a function of C libraries before glibc 2.33; looked for when it is first needed. */
let mknodat_: koffi.KoffiFunction | undefined;

// Memory that every call uses again: a thread makes one call at a time.
const how = Buffer.alloc(OPEN_HOW_SIZE);
const times = Buffer.alloc(32);
const status = Buffer.alloc(STATX_SIZE);
const firstPath = Buffer.allocUnsafeSlow(PATH_SIZE);
const secondPath = Buffer.allocUnsafeSlow(PATH_SIZE);
const xattrName = Buffer.allocUnsafeSlow(XATTR_NAME_SIZE);
const emptyPath = Buffer.alloc(1);

/** openat2(2), close-on-exec; `resolve` is of {@link RESOLVE}. Linux 5.6. */
export function openAt(
  directory: number,
  path: ByteString,
  flags: number,
  mode: number,
  resolve: number,
): number {
  // None of the numbers reaches 2^32: the upper halves stay 0.
  how.writeUInt32LE((flags | O.CLOEXEC) >>> 0, 0);
  how.writeUInt32LE(mode, 8);
  how.writeUInt32LE(resolve, 16);
  const name = cString(path, firstPath, 'openat2');
  return check(openat2_(SYS_openat2, directory, name, how, OPEN_HOW_SIZE), 'openat2', path);
}

export function closeDescriptor(fd: number): void {
  check(close_(fd), 'close', String(fd));
}

export function makeDirectoryAt(directory: number, path: ByteString, mode: number): void {
  check(mkdirat_(directory, cString(path, firstPath, 'mkdirat'), mode), 'mkdirat', path);
}

export function makeSymlinkAt(directory: number, path: ByteString, target: ByteString): void {
  const text = cString(target, secondPath, 'symlinkat');
  check(symlinkat_(text, directory, cString(path, firstPath, 'symlinkat')), 'symlinkat', path);
}

/** A hard link; the last component of `source` is not followed. */
export function linkAt(
  from: number,
  source: ByteString,
  directory: number,
  path: ByteString,
): void {
  const to = cString(path, firstPath, 'linkat');
  check(linkat_(from, cString(source, secondPath, 'linkat'), directory, to, 0), 'linkat', path);
}

/** mknodat(2); `mode` with the type bits, `device` for devices. */
export function makeNodeAt(
  directory: number,
  path: ByteString,
  mode: number,
  device: { major: number; minor: number },
): void {
  mknodat_ ??= libc.func(
    'int mknodat(int directory, const void *path, unsigned int mode, uint64_t device)',
  );
  const name = cString(path, firstPath, 'mknodat');
  check(mknodat_(directory, name, mode, deviceNumber(device)), 'mknodat', path);
}

/** Removes a file, or an empty directory where `isDirectory`. */
export function unlinkAt(directory: number, path: ByteString, isDirectory = false): void {
  const name = cString(path, firstPath, 'unlinkat');
  check(unlinkat_(directory, name, isDirectory ? AT_REMOVEDIR : 0), 'unlinkat', path);
}

/** The target of the symlink that `fd` was opened on with `O_PATH`. */
export function readLinkOf(fd: number): ByteString {
  const length = check(readlinkat_(fd, emptyPath, secondPath, PATH_SIZE), 'readlinkat', String(fd));
  return secondPath.toString('latin1', 0, length);
}

export function changeOwner(fd: number, uid: number, gid: number): void {
  check(fchown_(fd, uid, gid), 'fchown', String(fd));
}

export function changeOwnerAt(directory: number, path: ByteString, uid: number, gid: number): void {
  const name = cString(path, firstPath, 'fchownat');
  check(fchownat_(directory, name, uid, gid, AT_SYMLINK_NOFOLLOW), 'fchownat', path);
}

export function changeMode(fd: number, mode: number): void {
  check(fchmod_(fd, mode), 'fchmod', String(fd));
}

/** chmod(2) of a file that cannot be opened; a symlink is not followed but refused. */
export function changeModeAt(directory: number, path: ByteString, mode: number): void {
  const fd = openAt(directory, path, O.PATH | O.NOFOLLOW, 0, RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS);
  try {
    chmodSync(`/proc/self/fd/${fd}`, mode);
  } finally {
    closeDescriptor(fd);
  }
}

/** Sets access and modification time alike. */
export function setTimes(fd: number, seconds: number, nanoseconds: number): void {
  check(futimens_(fd, timesOf(seconds, nanoseconds)), 'futimens', String(fd));
}

export function setTimesAt(
  directory: number,
  path: ByteString,
  seconds: number,
  nanoseconds: number,
): void {
  const name = cString(path, firstPath, 'utimensat');
  const both = timesOf(seconds, nanoseconds);
  check(utimensat_(directory, name, both, AT_SYMLINK_NOFOLLOW), 'utimensat', path);
}

/** The status of a file in a directory, not followed; of the descriptor itself where `path` is empty. */
export function statusAt(directory: number, path: ByteString): FileStatus {
  const name = cString(path, firstPath, 'statx');
  const flags = AT_SYMLINK_NOFOLLOW | (path === '' ? AT_EMPTY_PATH : 0);
  check(statx_(directory, name, flags, STATX_BASIC_STATS, status), 'statx', path);
  // struct statx, <linux/stat.h>; the same on every architecture.
  return {
    mode: status.readUInt16LE(28),
    uid: status.readUInt32LE(20),
    gid: status.readUInt32LE(24),
    mtimeSeconds: status.readInt32LE(116) * 2 ** 32 + status.readUInt32LE(112),
    mtimeNanoseconds: status.readUInt32LE(120),
  };
}

export function setXattr(fd: number, name: ByteString, value: Buffer): void {
  check(fsetxattr_(fd, xattrNameOf(name), value, value.length, 0), 'fsetxattr', name);
}

/** For files that cannot be opened (symlinks, devices): the last component is not followed. */
export function setXattrAt(
  directory: number,
  path: ByteString,
  name: ByteString,
  value: Buffer,
): void {
  const full = cString(`/proc/self/fd/${directory}/${path}`, firstPath, 'lsetxattr');
  check(lsetxattr_(full, xattrNameOf(name), value, value.length, 0), 'lsetxattr', name);
}

/** The names of an open file's attributes; none where the file system has none. */
export function xattrNamesOf(fd: number): ByteString[] {
  const size = Number(flistxattr_(fd, null, 0));
  if (size <= 0) return [];
  const list = Buffer.alloc(size);
  const length = check(flistxattr_(fd, list, size), 'flistxattr', String(fd));
  return list.toString('latin1', 0, length).split('\0').slice(0, -1);
}

/** The value; `undefined` where there is none, or it went meanwhile. */
export function xattrOf(fd: number, name: ByteString): Buffer | undefined {
  const size = Number(fgetxattr_(fd, xattrNameOf(name), null, 0));
  if (size < 0) return undefined;
  const value = Buffer.alloc(size);
  const length = Number(fgetxattr_(fd, xattrNameOf(name), value, size));
  return length < 0 ? undefined : value.subarray(0, length);
}

export function removeXattr(fd: number, name: ByteString): void {
  check(fremovexattr_(fd, xattrNameOf(name)), 'fremovexattr', name);
}

/**
 * Gives this thread a umask of its own and empties it, so that files get exactly the mode they are
 * created with. False where the kernel refuses: then the process's umask still applies. Only for worker
 * threads: the working folder is the thread's own from then on, too.
 */
export function dropThreadUmask(): boolean {
  if (unshare_(CLONE_FS) !== 0) return false;
  umask_(0);
  return true;
}

function check(result: unknown, call: string, subject: string): number {
  const value = Number(result);
  if (value < 0) throw new SystemError(call, koffi.errno(), subject);
  return value;
}

/** Writes the text and a NUL into `memory`. A NUL within would silently cut the name. */
function cString(text: ByteString, memory: Buffer, call: string): Buffer {
  if (text === '') return emptyPath;
  if (text.length >= memory.length)
    throw new SystemError(call, ENAMETOOLONG, `${text.length} bytes`);
  if (text.includes('\0')) throw new SystemError(call, EINVAL, 'a name with NUL');
  memory[memory.write(text, 'latin1')] = 0;
  return memory;
}

const ENAMETOOLONG = 36;
const EINVAL = 22;

function xattrNameOf(name: ByteString): Buffer {
  return cString(name, xattrName, 'setxattr');
}

function timesOf(seconds: number, nanoseconds: number): Buffer {
  // Two struct timespec of 64-bit fields; the upper half of the nanoseconds stays 0.
  const high = Math.floor(seconds / 2 ** 32);
  for (const at of [0, 16]) {
    times.writeUInt32LE(seconds >>> 0, at);
    times.writeInt32LE(high, at + 4);
    times.writeUInt32LE(nanoseconds, at + 8);
  }
  return times;
}

/** glibc's makedev(3). */
function deviceNumber({ major, minor }: { major: number; minor: number }): bigint {
  const [high, low] = [BigInt(major), BigInt(minor)];
  return (
    ((high & 0xfffff000n) << 32n) |
    ((high & 0xfffn) << 8n) |
    ((low & 0xffffff00n) << 12n) |
    (low & 0xffn)
  );
}

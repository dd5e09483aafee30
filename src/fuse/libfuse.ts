/** What is used of fuse-native, which is optional, has no types and loads libfuse when it is imported. */

import { SiphonError, errorMessage } from '../common/errors.js';

/** Answers an operation: 0 (a read: how many bytes), or a negative errno; then its result. */
export type Answer<T = never> = (status: number, result?: T) => void;

/** Attributes as fuse-native takes them; times in ms. */
export interface LibfuseStat {
  mode: number;
  uid: number;
  gid: number;
  size: number;
  nlink: number;
  ino: number;
  rdev: number;
  blksize: number;
  blocks: number;
  atime: number;
  mtime: number;
  ctime: number;
}

export interface LibfuseOperations {
  getattr(path: string, answer: Answer<LibfuseStat>): void;
  /** Of the attributes, libfuse hands on type and inode number. */
  readdir(
    path: string,
    answer: (status: number, names?: string[], attributes?: LibfuseStat[]) => void,
  ): void;
  readlink(path: string, answer: Answer<string>): void;
  open(path: string, flags: number, answer: Answer<number>): void;
  read(
    path: string,
    handle: number,
    into: Buffer,
    length: number,
    position: number,
    answer: Answer,
  ): void;
  /** @param size room for the value; 0 asks how much it takes */
  getxattr(path: string, name: string, size: number, answer: Answer<Buffer>): void;
  /** @param size room for the names, each with a NUL; 0 asks how much they take */
  listxattr(path: string, size: number, answer: Answer<Buffer>): void;
  statfs(path: string, answer: Answer<Record<string, number>>): void;
}

type Done = (error: Error | null) => void;

export interface Libfuse {
  /** @param done is not called where the mount is taken away before libfuse has answered the kernel's first request */
  mount(done: Done): void;
  /** Whether {@link mount} has got as far as libfuse's own mount. */
  hasMounted(): boolean;
  unmount(done: Done): void;
}

export type LibfuseClass = new (
  mountPoint: string,
  operations: LibfuseOperations,
  options: Record<string, string | number | boolean>,
) => Libfuse;

/** How fuse-native takes answers of bytes: their number or a negative errno, and the memory of `room`. */
type Signal = (status: number, memory: ArrayBufferLike) => void;

/** @throws SiphonError `unsupported` where fuse-native is not installed or finds no libfuse */
export async function loadLibfuse(): Promise<LibfuseClass> {
  try {
    const name: string = 'fuse-native';
    const module = (await import(name)) as { default: LibfuseClass };
    return adapted(module.default);
  } catch (error) {
    throw missing(error);
  }
}

/** The dynamic linker names the library that it does not find. */
function missing(error: unknown): SiphonError {
  const isLibrary = errorMessage(error).includes('libfuse.so');
  const what = isLibrary
    ? `libfuse 2.9 is missing, expected Debian's package "libfuse2" to be installed`
    : `the npm package "fuse-native" cannot be loaded, expected it to be installed after Debian's package "libfuse2"`;
  return new SiphonError('unsupported', `Cannot mount through libfuse: ${what}`, { cause: error });
}

/** What fuse-native has of its own besides. */
type FuseNative = Libfuse & {
  ops: LibfuseOperations;
  /** All zeros until libfuse's mount(2), which the main thread waits for. */
  _thread?: Buffer;
};

/** Its own methods for extended attributes do not tell how much room there is, and cut values short. */
function adapted(base: LibfuseClass): LibfuseClass {
  return class extends (base as new (...args: unknown[]) => FuseNative) {
    override hasMounted(): boolean {
      return this._thread?.some((byte) => byte !== 0) ?? false;
    }

    _op_getxattr(signal: Signal, path: string, name: string, room: Buffer): void {
      this.ops.getxattr(path, name, room.length, answerInto(room, signal));
    }

    _op_listxattr(signal: Signal, path: string, room: Buffer): void {
      this.ops.listxattr(path, room.length, answerInto(room, signal));
    }
  };
}

function answerInto(room: Buffer, signal: Signal): Answer<Buffer> {
  return (status, bytes) => {
    bytes?.copy(room);
    signal(bytes?.length ?? status, room.buffer);
  };
}

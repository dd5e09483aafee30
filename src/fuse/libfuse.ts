/** What is used of fuse-native, which is optional, has no types and loads libfuse when it is imported. */

import { SiphonError } from '../common/errors.js';

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
  readdir(path: string, answer: Answer<string[]>): void;
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
  getxattr(path: string, name: string, position: number, answer: Answer<Buffer>): void;
  listxattr(path: string, answer: Answer<string[]>): void;
  statfs(path: string, answer: Answer<Record<string, number>>): void;
}

type Done = (error: Error | null) => void;

export interface Libfuse {
  mount(done: Done): void;
  unmount(done: Done): void;
}

export type LibfuseClass = new (
  mountPoint: string,
  operations: LibfuseOperations,
  options: Record<string, string | number | boolean>,
) => Libfuse;

/** @throws SiphonError `unsupported` where fuse-native is not installed or finds no libfuse */
export async function loadLibfuse(): Promise<LibfuseClass> {
  try {
    const name: string = 'fuse-native';
    const module = (await import(name)) as { default: LibfuseClass };
    return module.default;
  } catch (error) {
    throw new SiphonError(
      'unsupported',
      'Cannot use the libfuse driver: fuse-native or libfuse 2.9 cannot be loaded, expected both',
      {
        hint: 'Install Debian\'s package "libfuse2", then "npm rebuild fuse-native".',
        cause: error,
      },
    );
  }
}

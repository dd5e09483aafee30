/** A {@link BlobSource} over a file, or over a slice of one, such as a member of an archive. */

import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import type { BlobSource } from './blob-source.js';
import { SiphonError, systemCode } from './errors.js';

/** Bytes that {@link FileBlob.stream} reads at a time. */
const CHUNK_SIZE = 256 * 1024;

export class FileBlob implements BlobSource {
  readonly name: string;
  readonly size: number;
  readonly local = true;
  readonly #file: FileHandle;
  readonly #offset: number;

  private constructor(file: FileHandle, slice: { name: string; offset: number; size: number }) {
    this.#file = file;
    this.name = slice.name;
    this.size = slice.size;
    this.#offset = slice.offset;
  }

  /**
   * The `size` bytes of the file from `offset`; by default the whole of it.
   * @throws SiphonError `not-found`, `permission`, `invalid` (not a regular file), `corrupt` (the file
   * ends before the slice does)
   */
  static async open(
    path: string,
    slice: { offset?: number; size?: number } = {},
  ): Promise<FileBlob> {
    const file = await openRegularFile(path);
    try {
      const { offset = 0 } = slice;
      const length = (await file.stat()).size;
      const { size = length - offset } = slice;
      if (size < 0 || offset + size > length) {
        throw new SiphonError(
          'corrupt',
          `Cannot read file "${path}": it has ${length} bytes, expected at least ${offset + size}`,
        );
      }
      return new FileBlob(file, { name: path, offset, size });
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  async read(offset: number, length: number, signal: AbortSignal): Promise<Buffer> {
    const buffer = Buffer.allocUnsafe(length);
    await this.readInto(offset, buffer, signal);
    return buffer;
  }

  async readInto(offset: number, target: Uint8Array, signal: AbortSignal): Promise<void> {
    const { length } = target;
    if (signal.aborted) throw cancelled(this.name);
    if (offset < 0 || offset + length > this.size) {
      throw new SiphonError(
        'internal',
        `Cannot read ${length} bytes at ${offset} of "${this.name}": it has ${this.size} bytes`,
      );
    }
    let filled = 0;
    while (filled < length) {
      const position = this.#offset + offset + filled;
      const { bytesRead } = await this.#file.read(target, filled, length - filled, position);
      if (bytesRead === 0) throw shrunk(this.name);
      filled += bytesRead;
    }
  }

  async *stream(signal: AbortSignal, from = 0): AsyncGenerator<Uint8Array> {
    for (let offset = from; offset < this.size; offset += CHUNK_SIZE) {
      yield await this.read(offset, Math.min(CHUNK_SIZE, this.size - offset), signal);
    }
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

async function openRegularFile(path: string): Promise<FileHandle> {
  let file: FileHandle;
  try {
    // Without O_NONBLOCK, opening a pipe would wait for its writer.
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw asSiphonError(path, error);
  }
  if ((await file.stat()).isFile()) return file;
  await file.close();
  throw new SiphonError('invalid', `Cannot read "${path}": it is no regular file, expected one`);
}

function asSiphonError(path: string, cause: unknown): unknown {
  switch (systemCode(cause)) {
    case 'ENOENT':
    case 'ENOTDIR':
      return new SiphonError(
        'not-found',
        `Cannot open file "${path}": it does not exist, expected a file`,
        {
          cause,
        },
      );
    case 'EACCES':
    case 'EPERM':
      return new SiphonError(
        'permission',
        `Cannot open file "${path}": this process may not read it, expected a readable file`,
        { cause },
      );
    default:
      return cause;
  }
}

function shrunk(path: string): SiphonError {
  return new SiphonError('corrupt', `Cannot read file "${path}": it became shorter while in use`);
}

function cancelled(path: string): SiphonError {
  return new SiphonError('cancelled', `Cannot read file "${path}": the read was cancelled`);
}

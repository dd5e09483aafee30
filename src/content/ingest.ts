/** One blob on its way into the content store: a file that grows, hashed as it does. */

import { type Hash, createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { renameDurably } from '../common/atomic-file.js';
import type { ProgressListener } from '../common/blob-source.js';
import { type Digest, digestFromHash } from '../common/digest.js';
import { isDiskFull } from '../common/disk-full.js';
import { SiphonError } from '../common/errors.js';

export interface AppendOptions {
  signal: AbortSignal;
  /** Bytes the blob will have; unlimited where nobody knows. */
  total?: number;
  onProgress?: ProgressListener | undefined;
}

export class Ingest {
  readonly path: string;
  readonly #file: FileHandle;
  #hash: Hash = createHash('sha256');
  #size = 0;

  private constructor(path: string, file: FileHandle) {
    this.path = path;
    this.#file = file;
  }

  /** Goes on with the file at `path`, which is made where it is missing; hashes what is there. */
  static async open(path: string, mode = 0o600): Promise<Ingest> {
    const file = await open(path, 'a+', mode);
    const ingest = new Ingest(path, file);
    try {
      for await (const chunk of createReadStream(path)) ingest.#take(chunk as Buffer);
      return ingest;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Bytes so far. */
  get size(): number {
    return this.#size;
  }

  /** Digest of the bytes so far. */
  digest(): Digest {
    return digestFromHash(this.#hash.copy().digest());
  }

  /**
   * Writes `input` to the end.
   * @throws SiphonError `corrupt` past `total`, `no-space`, `cancelled`; what `input` throws
   */
  async append(input: AsyncIterable<Uint8Array>, options: AppendOptions): Promise<void> {
    const { signal, total = Infinity, onProgress } = options;
    for await (const chunk of input) {
      if (signal.aborted) throw cancelled(signal);
      if (this.#size + chunk.byteLength > total) throw tooLong(total);
      await this.#write(chunk);
      this.#take(chunk);
      onProgress?.(this.#size, total);
    }
    if (signal.aborted) throw cancelled(signal);
  }

  /** Forgets all bytes. */
  async restart(): Promise<void> {
    await this.#file.truncate(0);
    this.#hash = createHash('sha256');
    this.#size = 0;
  }

  /** Puts the file where it belongs, safe from a power cut. Nothing else may be called after. */
  async commit(path: string): Promise<void> {
    await this.#file.sync();
    await this.#file.close();
    await renameDurably(this.path, path);
  }

  /** Closes and keeps the file, for a later {@link open}. */
  async suspend(): Promise<void> {
    await this.#file.close();
  }

  /** Closes and removes the file. */
  async discard(): Promise<void> {
    await this.#file.close();
    await rm(this.path, { force: true });
  }

  async #write(chunk: Uint8Array): Promise<void> {
    try {
      await this.#file.appendFile(chunk);
    } catch (cause) {
      if (!isDiskFull(cause)) throw cause;
      throw new SiphonError(
        'no-space',
        `Cannot store a blob in "${this.path}": the disk is full after ${this.#size} bytes, expected room for all of it`,
        { cause },
      );
    }
  }

  #take(chunk: Uint8Array): void {
    this.#hash.update(chunk);
    this.#size += chunk.byteLength;
  }
}

function tooLong(total: number): SiphonError {
  return new SiphonError('corrupt', `Cannot store a blob: it goes on, expected ${total} bytes`);
}

function cancelled(signal: AbortSignal): SiphonError {
  return new SiphonError('cancelled', 'Cannot store a blob: the request was cancelled', {
    cause: signal.reason,
  });
}

/** One blob on its way into the content store: a file that grows, hashed as it does. */

import { type Hash, createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
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
  /** Is handed each piece once it is written. */
  onBytes?: ((piece: Uint8Array) => Promise<void>) | undefined;
}

export class Ingest {
  readonly path: string;
  readonly #file: FileHandle;
  /** Goes with the ingest. */
  readonly #beside: string | undefined;
  #hash: Hash = createHash('sha256');
  #size = 0;

  private constructor(path: string, file: FileHandle, beside: string | undefined) {
    this.path = path;
    this.#file = file;
    this.#beside = beside;
  }

  /** Goes on with the file at `path`, which is made where it is missing. */
  static async open(path: string, mode = 0o600): Promise<Ingest> {
    return Ingest.resume(path, await open(path, 'a+', mode));
  }

  /**
   * Takes `file` over, which is the one at `path`, and hashes what it holds.
   * @param beside path of a file about this one, which goes when it is committed or discarded
   */
  static async resume(path: string, file: FileHandle, beside?: string): Promise<Ingest> {
    const ingest = new Ingest(path, file, beside);
    try {
      for await (const chunk of ingest.bytes()) ingest.#take(chunk);
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

  /** The bytes so far. */
  async *bytes(): AsyncGenerator<Buffer> {
    for await (const chunk of createReadStream(this.path)) yield chunk as Buffer;
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
    const { signal, total = Infinity, onProgress, onBytes } = options;
    for await (const chunk of input) {
      if (signal.aborted) throw cancelled(signal);
      if (this.#size + chunk.byteLength > total) throw tooLong(total);
      await this.#write(chunk);
      this.#take(chunk);
      onProgress?.(this.#size, total);
      await onBytes?.(chunk);
    }
    if (signal.aborted) throw cancelled(signal);
  }

  /** Forgets all bytes. */
  async restart(): Promise<void> {
    await this.#file.truncate(0);
    this.#hash = createHash('sha256');
    this.#size = 0;
  }

  /** Puts the file where it belongs, safe from a power cut unless it need not be `durable`. Nothing else may be called after. */
  async commit(path: string, { durable = true } = {}): Promise<void> {
    if (durable) await this.#file.sync();
    await (durable ? renameDurably : rename)(this.path, path);
    await this.#end();
  }

  /** Closes and keeps the file, for a later {@link open}. */
  async suspend(): Promise<void> {
    await this.#file.close();
  }

  /** Closes and removes the file. */
  async discard(): Promise<void> {
    await rm(this.path, { force: true });
    await this.#end();
  }

  /** Closed last: until then nobody else takes the file for one that was left. */
  async #end(): Promise<void> {
    if (this.#beside !== undefined) await rm(this.#beside, { force: true });
    await this.#file.close();
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

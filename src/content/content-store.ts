/**
 * Blobs by digest on this disk. `blobs/sha256/<hex>` holds whole, verified blobs only: a blob is
 * written under `ingest/`, hashed on the way, synced, and renamed into place when size and digest are
 * right. Several processes may share a store. A file under `ingest/` belongs to the process whose id
 * its name holds; one that nobody owns, or whose owner is gone, is taken over by renaming it, which
 * only one can win, and the ingest goes on where it ends.
 */

import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { mkdir, readFile, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '../common/atomic-file.js';
import type { BlobSource, ProgressListener } from '../common/blob-source.js';
import { type Digest, digestHex, digestOf, isDigest } from '../common/digest.js';
import { SiphonError, systemCode } from '../common/errors.js';
import { FileBlob } from '../common/file-blob.js';
import { processIsAlive } from '../common/process.js';
import { SharedWork } from '../common/shared-work.js';
import { Ingest } from './ingest.js';
import { Memo } from './memo.js';

/** Digest and size of a blob; a descriptor will do. */
export interface BlobId {
  digest: Digest;
  /** Bytes. */
  size: number;
}

/**
 * A blob's bytes from its start, always read to the end; or a function that gives them from an offset
 * on, which is called only for what is missing and makes an interrupted ingest resumable.
 */
export type BlobInput = AsyncIterable<Uint8Array> | ((offset: number) => AsyncIterable<Uint8Array>);

export interface IngestOptions {
  signal: AbortSignal;
  onProgress?: ProgressListener;
}

export class ContentStore {
  readonly memo: Memo;
  readonly #blobs: string;
  readonly #ingests: string;
  readonly #running = new SharedWork<Digest, void>();

  private constructor(directory: string) {
    this.#blobs = join(directory, 'blobs', 'sha256');
    this.#ingests = join(directory, 'ingest');
    this.memo = new Memo(join(directory, 'memo'));
  }

  /** Opens or creates the store in `<root>/content`. @throws the system error where that fails */
  static async open(root: string): Promise<ContentStore> {
    const store = new ContentStore(join(root, 'content'));
    for (const folder of [store.#blobs, store.#ingests, store.memo.directory]) {
      await mkdir(folder, { recursive: true, mode: 0o700 });
    }
    await store.#sweep();
    return store;
  }

  /** Where the blob lies, or would lie. */
  path(digest: Digest): string {
    return join(this.#blobs, digestHex(digest));
  }

  async has(digest: Digest): Promise<boolean> {
    return (await this.#sizeOf(digest)) !== undefined;
  }

  /**
   * The whole of a small blob, hashed again, for it is about to be believed.
   * @throws SiphonError `not-found`; `corrupt`, and the damaged blob is removed
   */
  async read(digest: Digest): Promise<Buffer> {
    const bytes = await this.#readFile(digest);
    if (digestOf(bytes) === digest) return bytes;
    await this.delete(digest);
    throw new SiphonError(
      'corrupt',
      `Cannot read blob "${digest}" of the content store: its bytes have digest ${digestOf(bytes)}`,
      { hint: 'The damaged copy was removed; try again.' },
    );
  }

  /** Random access to a blob. @throws SiphonError `not-found`; `corrupt` where its size is another */
  async source(blob: BlobId): Promise<BlobSource> {
    const size = await this.#sizeOf(blob.digest);
    if (size === undefined) throw missing(blob.digest);
    if (size === blob.size) return FileBlob.open(this.path(blob.digest));
    throw new SiphonError(
      'corrupt',
      `Cannot open blob "${blob.digest}" of the content store: it has ${size} bytes, expected ${blob.size}`,
    );
  }

  /** Stores small bytes under their digest. */
  async put(bytes: Uint8Array): Promise<Digest> {
    const digest = digestOf(bytes);
    if (!(await this.has(digest))) await writeFileAtomic(this.path(digest), bytes);
    return digest;
  }

  /** Stores bytes whose digest nobody knows yet. @throws as {@link ingest} */
  async add(input: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<BlobId> {
    const ingest = await Ingest.open(this.#ownPath('new'));
    try {
      await ingest.append(input, { signal });
      const blob = { digest: ingest.digest(), size: ingest.size };
      await ingest.commit(this.path(blob.digest));
      return blob;
    } catch (error) {
      await ingest.discard();
      throw error;
    }
  }

  /**
   * Stores a blob once its size and digest are right. Concurrent resumable ingests of one digest in
   * this process share the work.
   * @throws SiphonError `corrupt` (other bytes, too few, too many), `no-space`, `cancelled`; what the
   * input throws, and then what arrived so far is kept for the next attempt where that can resume
   */
  async ingest(blob: BlobId, input: BlobInput, options: IngestOptions): Promise<void> {
    if (typeof input !== 'function') {
      return this.#ingestOnce(blob, input, options);
    }
    await this.#running.run(blob.digest, options.signal, async (signal) => {
      if (!(await this.has(blob.digest))) {
        await this.#ingestResumable(blob, input, { ...options, signal });
      }
    });
  }

  async delete(digest: Digest): Promise<void> {
    await rm(this.path(digest), { force: true });
  }

  /** As {@link delete}, at once. */
  deleteSync(digest: Digest): void {
    rmSync(this.path(digest), { force: true });
  }

  /** All blobs, in no order. */
  async *list(): AsyncGenerator<BlobId> {
    for (const name of await readdir(this.#blobs)) {
      const digest = `sha256:${name}`;
      const size = isDigest(digest) ? await this.#sizeOf(digest) : undefined;
      if (isDigest(digest) && size !== undefined) yield { digest, size };
    }
  }

  async #ingestOnce(
    blob: BlobId,
    input: AsyncIterable<Uint8Array>,
    options: IngestOptions,
  ): Promise<void> {
    const ingest = await Ingest.open(this.#ownPath('new'));
    try {
      await ingest.append(input, { ...options, total: blob.size });
      requireWhole(ingest, blob);
      await ingest.commit(this.path(blob.digest));
    } catch (error) {
      await ingest.discard();
      throw error;
    }
  }

  async #ingestResumable(
    blob: BlobId,
    input: (offset: number) => AsyncIterable<Uint8Array>,
    options: IngestOptions,
  ): Promise<void> {
    const ingest = await Ingest.open(await this.#takeOver(digestHex(blob.digest)));
    const append = { ...options, total: blob.size };
    try {
      const resumed = ingest.size > 0;
      if (ingest.size > blob.size) await ingest.restart();
      if (ingest.size < blob.size) await ingest.append(input(ingest.size), append);
      if (resumed && ingest.digest() !== blob.digest && ingest.size === blob.size) {
        // What an earlier run left may be what is wrong: a power cut can lose bytes that were not synced.
        await ingest.restart();
        await ingest.append(input(0), append);
      }
      requireWhole(ingest, blob);
      await ingest.commit(this.path(blob.digest));
    } catch (error) {
      await this.#setAside(ingest, blob);
      throw error;
    }
  }

  /** Keeps what a failed ingest has, unless it is known to be wrong. */
  async #setAside(ingest: Ingest, blob: BlobId): Promise<void> {
    if (ingest.size === 0 || ingest.size >= blob.size) return ingest.discard();
    await ingest.suspend();
    await rename(ingest.path, join(this.#ingests, `${digestHex(blob.digest)}.idle`));
  }

  /** A path of this process's own, where what others left of the same blob has been moved. */
  async #takeOver(hex: string): Promise<string> {
    const own = this.#ownPath(hex);
    const names = (await readdir(this.#ingests)).filter((name) => name.startsWith(`${hex}.`));
    for (const name of names.filter(isAbandoned)) {
      try {
        await rename(join(this.#ingests, name), own);
        break;
      } catch (error) {
        if (systemCode(error) !== 'ENOENT') throw error;
      }
    }
    return own;
  }

  #ownPath(name: string): string {
    return join(this.#ingests, `${name}.${process.pid}.${randomBytes(4).toString('hex')}`);
  }

  /** Removes what processes that are gone left of ingests that cannot go on. */
  async #sweep(): Promise<void> {
    for (const name of await readdir(this.#ingests)) {
      if (name.startsWith('new.') && isAbandoned(name)) {
        await rm(join(this.#ingests, name), { force: true });
      }
    }
  }

  async #readFile(digest: Digest): Promise<Buffer> {
    try {
      return await readFile(this.path(digest));
    } catch (error) {
      throw systemCode(error) === 'ENOENT' ? missing(digest) : error;
    }
  }

  async #sizeOf(digest: Digest): Promise<number | undefined> {
    try {
      return (await stat(this.path(digest))).size;
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw error;
    }
  }
}

/** `<name>.idle`, or `<name>.<pid>.<random>` of a process that is gone. */
function isAbandoned(name: string): boolean {
  const owner = name.split('.')[1] ?? '';
  return owner === 'idle' || !processIsAlive(Number(owner));
}

function requireWhole(ingest: Ingest, blob: BlobId): void {
  const { size } = ingest;
  if (size === blob.size && ingest.digest() === blob.digest) return;
  const problem =
    size === blob.size
      ? `its bytes have digest ${ingest.digest()}`
      : `it ended after ${size} bytes, expected ${blob.size}`;
  throw new SiphonError('corrupt', `Cannot store blob "${blob.digest}": ${problem}`);
}

function missing(digest: Digest): SiphonError {
  return new SiphonError(
    'not-found',
    `Cannot read blob "${digest}" of the content store: it is not there`,
  );
}

/**
 * Blobs by digest on this disk. `blobs/sha256/<hex>` holds whole, verified blobs only: a blob is
 * written under `ingest/`, hashed on the way, synced, and renamed into place when size and digest are
 * right. Several processes may share a store: of those that want one blob, one brings it, and another
 * goes on where that one ends.
 */

import { rmSync } from 'node:fs';
import { mkdir, readFile, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { renameDurably, writeFileAtomic } from '../common/atomic-file.js';
import type { BlobSource, ProgressListener } from '../common/blob-source.js';
import { type Digest, digestHex, digestOf, isDigest } from '../common/digest.js';
import { SiphonError, systemCode } from '../common/errors.js';
import { FileBlob } from '../common/file-blob.js';
import { SharedWork } from '../common/shared-work.js';
import type { Ingest } from './ingest.js';
import { type Expected, IngestFolder, type IngestStatus } from './ingest-folder.js';
import { Memo } from './memo.js';
import { removeOlder, statOf } from './remove-older.js';

/** Digest and size of a blob; a descriptor will do. */
export interface BlobId {
  digest: Digest;
  /** Bytes. */
  size: number;
}

/** Gives a blob's bytes from an offset on; called only for what is missing. */
export type BlobInput = (offset: number) => AsyncIterable<Uint8Array>;

export interface IngestOptions {
  signal: AbortSignal;
  onProgress?: ProgressListener;
  /** Is handed the blob in order, also what an earlier attempt had brought. */
  onBytes?: (piece: Uint8Array) => Promise<void>;
}

/** A blob of the store. */
export interface StoredBlob extends BlobId {
  /** Milliseconds since 1970. */
  written: number;
}

/** One ingest as its writer sees it; closing it keeps what has arrived for the next writer. */
export interface ContentWriter {
  status(): Promise<IngestStatus>;
  /** Writes `input` where the bytes so far end. Errors as {@link ContentStore.ingest} */
  append(input: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void>;
  /** Forgets all bytes. */
  restart(): Promise<void>;
  /**
   * Puts the blob into the store under its digest. Nothing else may be called after.
   * @throws SiphonError `corrupt` where size or digest are not as expected, now or when it was opened:
   * the ingest stays; `already-exists`, and the ingest goes
   */
  commit(expected?: { size?: number; digest?: Digest }): Promise<BlobId>;
  close(): Promise<void>;
}

export class ContentStore {
  readonly memo: Memo;
  readonly #blobs: string;
  readonly #ingests: IngestFolder;
  readonly #running = new SharedWork<Digest, void>();
  readonly #durable: boolean;

  private constructor(directory: string, durable: boolean) {
    this.#durable = durable;
    this.#blobs = join(directory, 'blobs', 'sha256');
    this.#ingests = new IngestFolder(join(directory, 'ingest'));
    this.memo = new Memo(join(directory, 'memo'));
  }

  /**
   * Opens or creates the store in `<root>/content`.
   * @param options.durable whether blobs survive a power cut once they are there: default; a store that is removed
   * before its blobs are missed saves the time
   * @throws the system error where that fails
   */
  static async open(root: string, { durable = true } = {}): Promise<ContentStore> {
    const store = new ContentStore(join(root, 'content'), durable);
    for (const folder of [store.#blobs, store.memo.directory]) {
      await mkdir(folder, { recursive: true, mode: 0o700 });
    }
    await store.#ingests.prepare();
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
    if (!(await this.has(digest)))
      await writeFileAtomic(this.path(digest), bytes, { durable: this.#durable });
    return digest;
  }

  /** Stores bytes whose digest nobody knows yet. @throws as {@link ingest} */
  async add(input: AsyncIterable<Uint8Array>, options: IngestOptions): Promise<BlobId> {
    const ingest = await this.#ingests.anonymous();
    try {
      await ingest.append(input, options);
      const blob = { digest: ingest.digest(), size: ingest.size };
      await this.#commit(ingest, blob.digest);
      return blob;
    } catch (error) {
      await ingest.discard();
      throw error;
    }
  }

  /** Takes a file of the same file system that is known to be the blob, synced; it has another name then. */
  async adopt(path: string, digest: Digest): Promise<void> {
    await renameDurably(path, this.path(digest));
  }

  /**
   * Stores a blob once its size and digest are right. Concurrent ingests of one digest share the
   * work, those of other processes included.
   * @returns whether this call's input brought it; if not, nothing was handed to `onBytes`
   * @throws SiphonError `corrupt` (other bytes, too few, too many), `no-space`, `cancelled`; what the
   * input throws, and then what arrived so far is kept for the next attempt
   */
  async ingest(blob: BlobId, input: BlobInput, options: IngestOptions): Promise<boolean> {
    let isBrought = false;
    await this.#running.run(blob.digest, options.signal, async (signal) => {
      isBrought = await this.#ingest(blob, input, { ...options, signal });
    });
    return isBrought;
  }

  /**
   * Begins the ingest `ref`, or goes on with it.
   * @throws SiphonError `busy` while somebody else writes it; `already-exists` where the blob is here;
   * `failed-precondition` where it was begun for another digest or size
   */
  async write(ref: string, expected: Expected = {}): Promise<ContentWriter> {
    const { digest } = expected;
    if (digest !== undefined && (await this.has(digest))) throw exists(digest);
    const ingest = await this.#ingests.tryOpen(ref, expected);
    if (ingest === undefined) {
      throw new SiphonError('busy', `Cannot write ingest "${ref}": somebody else does`);
    }
    return this.#writer(ref, ingest);
  }

  /** What is on its way, by reference. */
  ingests(): Promise<IngestStatus[]> {
    return this.#ingests.list();
  }

  /** `undefined` where there is no such ingest. */
  ingestStatus(ref: string): Promise<IngestStatus | undefined> {
    return this.#ingests.status(ref);
  }

  /** Removes an ingest. @throws SiphonError `not-found`; `busy` while somebody works on it */
  abort(ref: string): Promise<void> {
    return this.#ingests.abort(ref);
  }

  /** Removes the ingests that nobody works on, but for those that `isWanted`. */
  async abandonIngests(isWanted: (ref: string) => boolean): Promise<void> {
    await this.#ingests.abandon(isWanted);
  }

  /** Removes what an ingest of the blob has left, unless somebody works on it. */
  async forgetIngest(digest: Digest): Promise<void> {
    await this.#ingests.forget(digest);
  }

  /**
   * Forgets what is remembered about blobs and files that are gone, and removes what writers left that
   * were killed. To be called while nobody writes, but for those who began at `before` or later.
   */
  async tidy(before: number): Promise<void> {
    await this.memo.prune((digest) => this.has(digest), before);
    const names = await readdir(this.#blobs);
    const strays = names.filter((name) => !isDigest(`sha256:${name}`));
    await removeOlder(this.#blobs, strays, before);
  }

  async delete(digest: Digest): Promise<void> {
    await rm(this.path(digest), { force: true });
  }

  /** As {@link delete}, at once. */
  deleteSync(digest: Digest): void {
    rmSync(this.path(digest), { force: true });
  }

  /** All blobs, in no order. */
  async *list(): AsyncGenerator<StoredBlob> {
    for (const name of await readdir(this.#blobs)) {
      const digest = `sha256:${name}`;
      const stats = isDigest(digest) ? await statOf(this.path(digest)) : undefined;
      if (isDigest(digest) && stats !== undefined) {
        yield { digest, size: stats.size, written: stats.mtimeMs };
      }
    }
  }

  #commit(ingest: Ingest, digest: Digest): Promise<void> {
    return ingest.commit(this.path(digest), { durable: this.#durable });
  }

  async #ingest(blob: BlobId, input: BlobInput, options: IngestOptions): Promise<boolean> {
    const { digest, size: total } = blob;
    const isDone = (): Promise<boolean> => this.has(digest);
    const { signal } = options;
    const ingest = await this.#ingests.open(digest, { digest, total }, { isDone, signal });
    if (ingest === undefined) return false;
    try {
      await fill(ingest, blob, input, options);
      requireWhole(ingest, blob);
      await this.#commit(ingest, digest);
      return true;
    } catch (error) {
      // Kept, unless it is known to be wrong.
      if (ingest.size === 0 || ingest.size >= total) await ingest.discard();
      else await ingest.suspend();
      throw error;
    }
  }

  #writer(ref: string, ingest: Ingest): ContentWriter {
    const status = async (): Promise<IngestStatus> => {
      const found = await this.#ingests.status(ref);
      if (found !== undefined) return found;
      throw new SiphonError('not-found', `Cannot find ingest "${ref}": there is none`);
    };
    return {
      status,
      append: async (input, signal) => {
        const { total } = await status();
        await ingest.append(input, { signal, ...(total === undefined ? {} : { total }) });
      },
      restart: () => ingest.restart(),
      commit: async (asked = {}) => {
        const known = await status();
        const blob = { digest: ingest.digest(), size: ingest.size };
        requireWhole(ingest, {
          digest: asked.digest ?? known.expected ?? blob.digest,
          size: asked.size ?? known.total ?? blob.size,
        });
        if (await this.has(blob.digest)) {
          await ingest.discard();
          throw exists(blob.digest);
        }
        await this.#commit(ingest, blob.digest);
        return blob;
      },
      close: () => ingest.suspend(),
    };
  }

  async #readFile(digest: Digest): Promise<Buffer> {
    try {
      return await readFile(this.path(digest));
    } catch (error) {
      throw systemCode(error) === 'ENOENT' ? missing(digest) : error;
    }
  }

  async #sizeOf(digest: Digest): Promise<number | undefined> {
    return (await statOf(this.path(digest)))?.size;
  }
}

/** Brings what is missing. */
async function fill(
  ingest: Ingest,
  blob: BlobId,
  input: BlobInput,
  options: IngestOptions,
): Promise<void> {
  const append = { ...options, total: blob.size };
  const resumed = ingest.size > 0;
  if (ingest.size > blob.size) await ingest.restart();
  if (options.onBytes !== undefined) {
    for await (const piece of ingest.bytes()) await options.onBytes(piece);
  }
  if (ingest.size < blob.size) await ingest.append(input(ingest.size), append);
  const isDamaged = resumed && ingest.size === blob.size && ingest.digest() !== blob.digest;
  // What was handed on cannot be taken back.
  if (!isDamaged || options.onBytes !== undefined) return;
  // What an earlier run left may be what is wrong: a power cut can lose bytes that were not synced.
  await ingest.restart();
  await ingest.append(input(0), append);
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

function exists(digest: Digest): SiphonError {
  return new SiphonError(
    'already-exists',
    `Cannot store blob "${digest}": it is in the content store already`,
  );
}

function missing(digest: Digest): SiphonError {
  return new SiphonError(
    'not-found',
    `Cannot read blob "${digest}" of the content store: it is not there`,
  );
}

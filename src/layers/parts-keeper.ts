/**
 * What of a layer's blob is kept on this disk while it is read from elsewhere: its parts, opened when something is
 * to be kept. Where another process keeps the layer's, they may be this one's alone, and go with it. A disk that
 * takes no more keeps nobody from reading: it is said once, and what is not kept comes again when it is wanted.
 */

import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Digest } from '../common/digest.js';
import { isDiskFull } from '../common/disk-full.js';
import { SiphonError, errorMessage } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import type { ByteRange } from '../common/range-set.js';
import type { ContentStore } from '../content/content-store.js';
import { hashSlice } from '../content/file-digest.js';
import { BlobParts } from './blob-parts.js';
import type { SpareParts } from './cache-limit.js';

/** Bytes that wait to be written, beyond which nothing more should be asked for. */
const MAX_UNWRITTEN = 32 << 20;

export interface PartsKeeperOptions {
  /** For messages. */
  name: string;
  /** Bytes of the blob. */
  size: number;
  /** What is here of it; absent where nothing is to be kept yet. */
  parts: BlobParts | undefined;
  /** The layer's folder. */
  directory: string;
  /** Is told of the bytes of each part that is kept. */
  onKept?: ((bytes: number) => void) | undefined;
  log: Logger;
}

export class PartsKeeper {
  readonly #options: PartsKeeperOptions;
  readonly #writes = new Set<Promise<boolean>>();
  #parts: BlobParts | undefined;
  #opening: Promise<unknown> | undefined;
  /** Whether the parts are this process's alone, and gone with it. */
  #isOwn = false;
  #refuses = false;
  #unwritten = 0;
  /** Who works on all of them, and who reads from them. */
  #claims = 0;
  #reading = 0;
  /** In seconds since the epoch. */
  #lastUse = 0;

  constructor(options: PartsKeeperOptions) {
    this.#options = options;
    this.#parts = options.parts;
  }

  /** Bytes that are here. */
  get present(): number {
    return this.#parts?.present ?? 0;
  }

  /** Whether there is anything to keep parts in. */
  get isOpen(): boolean {
    return this.#parts !== undefined;
  }

  /** Whether the disk took nothing the last time. */
  get refuses(): boolean {
    return this.#refuses;
  }

  /** Bytes on disk that no folder shows. */
  get hiddenBytes(): number {
    return this.#isOwn ? this.present : 0;
  }

  /** What may be dropped: `undefined` while anybody uses any of it. */
  get spareParts(): SpareParts | undefined {
    const uses = this.#claims + this.#reading + this.#writes.size;
    if (uses > 0 || this.#parts === undefined) return undefined;
    return { bytes: this.present, lastUse: this.#lastUse };
  }

  has(range: ByteRange): boolean {
    return this.#parts?.has(range) === true;
  }

  missing(range: ByteRange): ByteRange[] {
    return this.#parts?.missing(range) ?? [range];
  }

  /** Bytes of a range that {@link has}. @throws the system error */
  async read(range: ByteRange): Promise<Buffer> {
    if (this.#parts === undefined) throw notHere(this.#options.name);
    this.#reading += 1;
    this.#lastUse = Date.now() / 1000;
    try {
      return await this.#parts.read(range);
    } finally {
      this.#reading -= 1;
    }
  }

  /** @returns whether the disk has taken it, or something seals what is there */
  async keep(offset: number, bytes: Uint8Array): Promise<boolean> {
    if (this.#parts === undefined) return false;
    const write = this.#write(this.#parts, offset, bytes);
    this.#writes.add(write);
    this.#unwritten += bytes.length;
    const isKept = await write;
    this.#unwritten -= bytes.length;
    this.#writes.delete(write);
    return isKept;
  }

  /** Resolves when all that has come is kept, or was not taken by the disk. */
  async written(): Promise<void> {
    await Promise.all(this.#writes);
  }

  /** Resolves when little enough waits to be written. */
  async keepsUp(): Promise<void> {
    while (this.#unwritten > MAX_UNWRITTEN) await Promise.race(this.#writes);
  }

  /** What comes is kept from now on if there is room, by this process alone if another one keeps the layer's. */
  async openSomewhere(): Promise<void> {
    const { directory, size } = this.#options;
    try {
      await this.#opened(
        async () => (await BlobParts.open(directory, size)) ?? (await this.#ownParts()),
      );
    } catch (error) {
      if (!isDiskFull(error)) throw error;
      this.#notKept(error);
    }
  }

  /**
   * What comes is kept from now on, and nobody takes it away until {@link release}.
   * @returns false where another process keeps it
   */
  async claim(): Promise<boolean> {
    const { directory, size } = this.#options;
    this.#claims += 1;
    if (this.#isOwn) return false;
    return (await this.#opened(() => BlobParts.open(directory, size))) !== undefined;
  }

  /** Ends a {@link claim}. */
  release(): void {
    this.#claims -= 1;
    this.#lastUse = Date.now() / 1000;
  }

  /** Nothing is here any more. */
  async clear(): Promise<void> {
    await this.#parts?.clear();
  }

  /** Gives the disk its room back. */
  drop(): void {
    this.clear().catch((error: unknown) => this.#notKept(error));
  }

  /**
   * Where the blob lies, which must be here as a whole and claimed, and its digest as it lies there; from now on
   * nothing is written to it, unless it is {@link clear}ed.
   * @throws SiphonError `cancelled`, `internal`; the system error
   */
  async seal(signal: AbortSignal): Promise<{ path: string; digest: Digest }> {
    const { name, size } = this.#options;
    if (this.#parts?.isWhole !== true) throw notHere(name);
    const { path } = this.#parts;
    await this.#parts.seal();
    return { path, digest: await hashSlice({ path, offset: 0, size }, signal) };
  }

  /** Puts what was {@link seal}ed, and is right, into the content store. */
  async moveInto(content: ContentStore, digest: Digest): Promise<void> {
    await this.#parts?.moveInto(content, digest);
  }

  async close(): Promise<void> {
    await this.written();
    await this.#parts?.close();
  }

  /** The parts, opened once however many ask. */
  async #opened(open: () => Promise<BlobParts | undefined>): Promise<BlobParts | undefined> {
    if (this.#parts !== undefined) return this.#parts;
    const opening = (this.#opening ?? Promise.resolve()).then(async () => this.#parts ?? open());
    this.#opening = opening.catch(() => undefined);
    return (this.#parts = await opening);
  }

  async #ownParts(): Promise<BlobParts> {
    const { directory, size } = this.#options;
    const folder = await mkdtemp(join(directory, 'stream-'));
    try {
      const own = await BlobParts.open(folder, size);
      this.#isOwn = own !== undefined;
      if (own !== undefined) return own;
      throw new SiphonError('busy', `Cannot use "${folder}": it is locked, expected a new folder`);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  async #write(parts: BlobParts, offset: number, bytes: Uint8Array): Promise<boolean> {
    try {
      await parts.write(offset, bytes);
    } catch (error) {
      this.#notKept(error);
      return false;
    }
    this.#refuses = false;
    this.#lastUse = Date.now() / 1000;
    this.#options.onKept?.(bytes.length);
    return true;
  }

  #notKept(because: unknown): void {
    if (this.#refuses) return;
    this.#refuses = true;
    const about = { blob: this.#options.name, reason: errorMessage(because) };
    this.#options.log.warn(about, 'parts of the blob are not kept, reads draw them again');
  }
}

function notHere(name: string): SiphonError {
  return new SiphonError('internal', `Cannot use the parts of "${name}": they are not all here`);
}

/**
 * The parts of a layer's blob that have come here: a sparse file `blob`, and a file `parts` with a record for
 * each range that was written, sixteen bytes of two little-endian numbers, offset and length.
 *
 * A range is recorded once it is written. A power cut may leave records of bytes that never reached the disk;
 * nothing here is believed before it was compared with a digest, and what is wrong then is fetched anew. While
 * that is found out of the whole, the parts are sealed: not a byte is written any more, until they are cleared.
 * One process at a time works on a layer's parts: it has the lock on `parts`.
 */

import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { Digest } from '../common/digest.js';
import { type ByteRange, RangeSet } from '../common/range-set.js';
import type { ContentStore } from '../content/content-store.js';
import { tryLockFile } from '../ffi/libc.js';

const RECORD_SIZE = 16;

export class BlobParts {
  /** Of the sparse file. */
  readonly path: string;
  readonly size: number;
  readonly #here = new RangeSet();
  readonly #recordPath: string;
  readonly #records: number;
  /** Where the records end; what follows was cut. */
  #recordsEnd = 0;
  readonly #file: FileHandle;
  readonly #writes = new Set<Promise<void>>();
  #clearing: Promise<void> = Promise.resolve();
  /** Grows whenever what is here is cleared: what was being written then is not here afterwards. */
  #cleared = 0;
  #sealed = false;
  #closed = false;

  /**
   * Opens or creates the parts of a blob of `size` bytes.
   * @returns `undefined` where another process has them
   * @throws the system error
   */
  static async open(directory: string, size: number): Promise<BlobParts | undefined> {
    const recordPath = join(directory, 'parts');
    const records = openSync(recordPath, constants.O_RDWR | constants.O_CREAT, 0o600);
    let file: FileHandle | undefined;
    try {
      if (!tryLockFile(records)) {
        closeSync(records);
        return undefined;
      }
      const path = join(directory, 'blob');
      file = await open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
      return new BlobParts({ path, file, recordPath, records, size });
    } catch (error) {
      await file?.close();
      closeSync(records);
      throw error;
    }
  }

  private constructor(files: {
    path: string;
    file: FileHandle;
    recordPath: string;
    records: number;
    size: number;
  }) {
    this.path = files.path;
    this.size = files.size;
    this.#file = files.file;
    this.#recordPath = files.recordPath;
    this.#records = files.records;
    this.#load();
  }

  /** Bytes that are here. */
  get present(): number {
    return this.#here.size;
  }

  get isWhole(): boolean {
    return this.#here.size === this.size;
  }

  has(range: ByteRange): boolean {
    return this.#here.has(range);
  }

  missing(within: ByteRange = { start: 0, end: this.size }): ByteRange[] {
    return this.#here.missing(within);
  }

  /** Bytes of `start` to `end`, which must be here. @throws the system error */
  async read({ start, end }: ByteRange): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(end - start);
    for (let at = 0; at < bytes.length;) {
      const { bytesRead } = await this.#file.read(bytes, at, bytes.length - at, start + at);
      if (bytesRead === 0) throw new Error(`The parts of a blob end at ${start + at}`);
      at += bytesRead;
    }
    return bytes;
  }

  /**
   * Does nothing where the parts are sealed.
   * @throws the system error, of a full disk for one; then nothing of it counts as being here
   */
  async write(offset: number, bytes: Uint8Array): Promise<void> {
    if (this.#sealed) return;
    const write = this.#write(offset, bytes);
    this.#writes.add(write);
    try {
      await write;
    } finally {
      this.#writes.delete(write);
    }
  }

  /** Nothing is here any more, from now on; resolves when the disk has its room back; once closed, they stay. @throws the system error */
  async clear(): Promise<void> {
    // The numbers of the descriptors may be of other files by now.
    if (this.#closed) return;
    this.#here.clear();
    this.#cleared += 1;
    this.#sealed = false;
    const before = Promise.allSettled([this.#clearing, ...this.#writes]);
    const work = before.then(() => this.#truncate());
    this.#clearing = work.catch(() => undefined);
    await work;
  }

  /** From now on nothing is written; resolves when all that was begun is over. */
  async seal(): Promise<void> {
    this.#sealed = true;
    await Promise.allSettled(this.#writes);
  }

  /** Puts what is known to be the blob, and sealed since, into the content store; what is open stays readable. */
  async moveInto(content: ContentStore, digest: Digest): Promise<void> {
    await this.#file.datasync();
    await content.adopt(this.path, digest);
    rmSync(this.#recordPath, { force: true });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await Promise.allSettled([this.#clearing, ...this.#writes]);
    await this.#file.close();
    closeSync(this.#records);
  }

  async #write(offset: number, bytes: Uint8Array): Promise<void> {
    const cleared = this.#cleared;
    await this.#clearing;
    for (let at = 0; at < bytes.length;) {
      const { bytesWritten } = await this.#file.write(bytes, at, bytes.length - at, offset + at);
      at += bytesWritten;
    }
    if (this.#closed || cleared !== this.#cleared) return;
    const record = recordOf(offset, bytes.length);
    this.#recordsEnd += writeSync(this.#records, record, 0, RECORD_SIZE, this.#recordsEnd);
    this.#here.add({ start: offset, end: offset + bytes.length });
  }

  #truncate(): void {
    ftruncateSync(this.#records);
    this.#recordsEnd = 0;
    ftruncateSync(this.#file.fd);
    ftruncateSync(this.#file.fd, this.size);
  }

  #load(): void {
    const records = readFileSync(this.#records);
    const isOurs = fstatSync(this.#file.fd).size === this.size;
    for (let at = 0; isOurs && at + RECORD_SIZE <= records.length; at += RECORD_SIZE) {
      const start = Number(records.readBigUInt64LE(at));
      const end = start + Number(records.readBigUInt64LE(at + 8));
      if (end <= this.size) this.#here.add({ start, end });
    }
    if (!isOurs) ftruncateSync(this.#file.fd, this.size);
    this.#rewrite();
  }

  /** Neighbours as one record, and none that was cut. There is room for that on a full disk, too. */
  #rewrite(): void {
    const records = this.#here.ranges.map(({ start, end }) => recordOf(start, end - start));
    const bytes = Buffer.concat(records);
    // Whatever a crash leaves of either is true.
    this.#recordsEnd = writeSync(this.#records, bytes, 0, bytes.length, 0);
    ftruncateSync(this.#records, this.#recordsEnd);
  }
}

function recordOf(offset: number, length: number): Buffer {
  const record = Buffer.alloc(RECORD_SIZE);
  record.writeBigUInt64LE(BigInt(offset));
  record.writeBigUInt64LE(BigInt(length), 8);
  return record;
}

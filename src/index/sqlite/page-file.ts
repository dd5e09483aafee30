/** A database that SQLite wrote and has closed, to whose end whole pages are added (sqlite.org/fileformat2.html). */

import { closeSync, openSync, readSync, writeSync } from 'node:fs';

/** The page size that the database must have, which is SQLite's default. */
export const PAGE_SIZE = 4096;
/** Where the database's header tells how many pages there are. */
const PAGE_COUNT = 28;
/** Pages written at a time. */
const BATCH = 64;

export class PageFile implements Disposable {
  readonly #file: number;
  #count: number;
  /** The last pages, which are not written yet. */
  readonly #batch = Buffer.allocUnsafeSlow(BATCH * PAGE_SIZE);
  #batched = 0;

  constructor(path: string) {
    this.#file = openSync(path, 'r+');
    const count = Buffer.alloc(4);
    readSync(this.#file, count, 0, count.length, PAGE_COUNT);
    this.#count = count.readUInt32BE();
  }

  /** Adds a copy of a page; returns its number. */
  add(page: Buffer): number {
    if (this.#batched === BATCH) this.#flush();
    page.copy(this.#batch, this.#batched * PAGE_SIZE);
    this.#batched += 1;
    this.#count += 1;
    return this.#count;
  }

  /** Overwrites a page that SQLite wrote. */
  replace(number: number, page: Buffer): void {
    this.#write(page, (number - 1) * PAGE_SIZE);
  }

  /** Makes the pages that were added part of the database. */
  finish(): void {
    this.#flush();
    const count = Buffer.alloc(4);
    count.writeUInt32BE(this.#count);
    this.#write(count, PAGE_COUNT);
  }

  [Symbol.dispose](): void {
    closeSync(this.#file);
  }

  #flush(): void {
    const first = this.#count - this.#batched;
    this.#write(this.#batch.subarray(0, this.#batched * PAGE_SIZE), first * PAGE_SIZE);
    this.#batched = 0;
  }

  /** All of it: a disk that becomes full takes a part, and says so only of the next one. */
  #write(bytes: Buffer, place: number): void {
    for (let at = 0; at < bytes.length;)
      at += writeSync(this.#file, bytes, at, bytes.length - at, place + at);
  }
}

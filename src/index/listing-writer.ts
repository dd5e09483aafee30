/** Packs every directory's entries into the pages of its listing, once the tree is complete. */

import type BetterSqlite3 from 'better-sqlite3';
import { INODE, type InodeRow, toInode } from './inode-row.js';
import { ListingPacker } from './listing-page.js';
import type { Inode } from './layer-model.js';
import { listingNumber } from './schema.js';

/** Entries read at a time: the same connection cannot write while a query is open. */
const BATCH = 1024;

type EntryRow = [...InodeRow, parent: number, name: Buffer];

/** Of the entries and inodes that are in their tables. */
export function writeListings(database: BetterSqlite3.Database): void {
  const insert = database.prepare('INSERT INTO main.listing VALUES (?, ?)');
  const parentOf = database
    .prepare<[number], number>('SELECT parent FROM main.inode WHERE ino = ?')
    .pluck();
  const pages = new ListingWriter(
    (number, page) => insert.run(number, page),
    (ino) => parentOf.get(ino) ?? 0,
  );
  const entries = database
    .prepare<[number, Buffer], EntryRow>(
      `SELECT ${INODE}, e.parent, e.name FROM main.entry e CROSS JOIN main.inode i ON i.ino = e.ino
        WHERE (e.parent, e.name) > (?, ?) ORDER BY e.parent, e.name LIMIT ${BATCH}`,
    )
    .raw();
  let last: [number, Buffer] = [0, Buffer.alloc(0)];
  for (let count = BATCH; count === BATCH;) {
    const rows = entries.all(...last);
    count = rows.length;
    for (const row of rows) {
      last = [row[10], row[11]];
      pages.add(...last, toInode(row));
    }
  }
  pages.finish();
}

/** Begins a page when one is full or another directory begins. */
export class ListingWriter {
  readonly #write: (number: number, page: Buffer) => void;
  readonly #packer = new ListingPacker();
  readonly #parentOf: (ino: number) => number;
  #directory = 0;
  #page = 0;

  /**
   * @param write stores the page of that {@link listingNumber}; they come in order
   * @param parentOf the directory that holds this one
   */
  constructor(write: (number: number, page: Buffer) => void, parentOf: (ino: number) => number) {
    this.#write = write;
    this.#parentOf = parentOf;
  }

  /** Entries come by directory, in order. */
  add(directory: number, name: Buffer, inode: Inode): void {
    if (directory !== this.#directory || this.#packer.isFull) {
      this.finish();
      this.#page = directory === this.#directory ? this.#page + 1 : 0;
      this.#directory = directory;
    }
    this.#packer.add(name, inode);
  }

  finish(): void {
    if (this.#packer.isEmpty) return;
    const page = this.#packer.take(this.#parentOf(this.#directory));
    this.#write(listingNumber(this.#directory, this.#page), page);
  }
}

/**
 * Fills a table of a SQLite database with rows that come in order, by writing the pages of its b-tree one after another
 * (sqlite.org/fileformat2.html): a row takes a fraction of what a statement takes for it. The table must have been created,
 * and be empty: of it, only the number of its root page is used.
 *
 * The leaves have the rows. A cell above them leads to a page below, and tells what is in it: of a table by row number, the
 * highest number; of one WITHOUT ROWID, whose rows are their own keys, the row that comes next, which is in no leaf.
 */

import { varintLength, writeVarint } from './bytes.js';
import { PAGE_SIZE, type PageFile } from './page-file.js';
import type { RecordWriter } from './record.js';
import { TreePage } from './tree-page.js';

const LEAF = { numbered: 0x0d, keyed: 0x0a } as const;
const INTERIOR = { numbered: 0x05, keyed: 0x02 } as const;
type Kind = keyof typeof LEAF;

/** Bytes of a page's number. */
const PAGE_NUMBER = 4;
/** Bytes of a row that lie in its leaf: all of them up to so many, else no less than the other, and the rest in overflow pages. */
const MOST_LOCAL = {
  numbered: PAGE_SIZE - 35,
  keyed: Math.floor(((PAGE_SIZE - 12) * 64) / 255) - 23,
} as const;
const LEAST_LOCAL = Math.floor(((PAGE_SIZE - 12) * 32) / 255) - 23;
const OVERFLOW_SIZE = PAGE_SIZE - PAGE_NUMBER;

/** A page, and what the cell that leads to it tells; nothing where it is the last one of its level. */
interface Child {
  page: number;
  told: Buffer;
}

export class TableFiller {
  readonly #file: PageFile;
  readonly #root: number;
  readonly #kind: Kind;
  readonly #leaf = new TreePage('leaf');
  readonly #leaves: Child[] = [];
  #number = 0;

  /** @param kind `numbered` with an INTEGER PRIMARY KEY, `keyed` WITHOUT ROWID */
  constructor(file: PageFile, root: number, kind: Kind) {
    this.#file = file;
    this.#root = root;
    this.#kind = kind;
  }

  /**
   * Adds the next row.
   * @param number where rows have numbers: greater than the last one's; the record has a NULL in its place
   */
  add(record: RecordWriter, number = 0): void {
    const { length } = record;
    const numberLength = this.#kind === 'numbered' ? varintLength(number) : 0;
    const local = localLength(length, this.#kind);
    const linkLength = local < length ? PAGE_NUMBER : 0;
    const size = varintLength(length) + numberLength + local + linkLength;
    if (!this.#leaf.fits(size)) this.#endLeaf();
    let at = writeVarint(this.#leaf.bytes, length, this.#leaf.addCell(size));
    if (numberLength > 0) at = writeVarint(this.#leaf.bytes, number, at);
    if (local === length) record.copyTo(this.#leaf.bytes, at);
    else this.#addLong(record, local, at);
    this.#number = number;
  }

  /** Writes what is left. */
  finish(): void {
    const leaf = this.#leaf.finish(LEAF[this.#kind]);
    if (this.#leaves.length === 0) {
      this.#file.replace(this.#root, leaf);
      return;
    }
    let children = [...this.#leaves, { page: this.#file.add(leaf), told: Buffer.alloc(0) }];
    for (;;) {
      const pages = [...interiorPages(children, INTERIOR[this.#kind])];
      const [only] = pages;
      if (pages.length === 1 && only !== undefined) {
        this.#file.replace(this.#root, only.bytes);
        return;
      }
      children = pages.map(({ bytes, told }) => ({ page: this.#file.add(bytes), told }));
    }
  }

  #endLeaf(): void {
    const told = this.#kind === 'numbered' ? varint(this.#number) : this.#leaf.takeLastCell();
    this.#leaves.push({ page: this.#file.add(this.#leaf.finish(LEAF[this.#kind])), told });
  }

  /** Puts the first `local` bytes of a record to `at` of the leaf, and the others into a chain of pages. */
  #addLong(record: RecordWriter, local: number, at: number): void {
    const whole = Buffer.alloc(record.length);
    record.copyTo(whole, 0);
    whole.copy(this.#leaf.bytes, at, 0, local);
    const page = Buffer.alloc(PAGE_SIZE);
    let next = 0;
    const last = Math.floor((whole.length - local - 1) / OVERFLOW_SIZE);
    for (let n = last; n >= 0; n -= 1) {
      const start = local + n * OVERFLOW_SIZE;
      page.fill(0);
      page.writeUInt32BE(next, 0);
      whole.copy(page, PAGE_NUMBER, start, start + OVERFLOW_SIZE);
      next = this.#file.add(page);
    }
    this.#leaf.bytes.writeUInt32BE(next, at + local);
  }
}

function localLength(length: number, kind: Kind): number {
  if (length <= MOST_LOCAL[kind]) return length;
  const local = LEAST_LOCAL + ((length - LEAST_LOCAL) % OVERFLOW_SIZE);
  return local <= MOST_LOCAL[kind] ? local : LEAST_LOCAL;
}

/** The pages that lead to `children`, at least two to each. */
function* interiorPages(
  children: readonly Child[],
  type: number,
): Generator<{ bytes: Buffer; told: Buffer }, undefined> {
  let page = new TreePage('interior');
  for (const [n, { page: number, told }] of children.entries()) {
    const size = PAGE_NUMBER + told.length;
    const left = children.length - 1 - n;
    // Of the last three, none is to be left over alone.
    const nextSize = left === 2 ? PAGE_NUMBER + (children[n + 1]?.told.length ?? 0) : 0;
    const goesOn =
      left > 0 && (left === 2 && !page.isEmpty ? page.fits(size + nextSize, 2) : page.fits(size));
    if (goesOn) {
      const at = page.addCell(size);
      page.bytes.writeUInt32BE(number, at);
      told.copy(page.bytes, at + PAGE_NUMBER);
    } else {
      yield { bytes: page.finish(type, number), told };
      page = new TreePage('interior');
    }
  }
}

function varint(value: number): Buffer {
  const bytes = Buffer.alloc(varintLength(value));
  writeVarint(bytes, value, 0);
  return bytes;
}

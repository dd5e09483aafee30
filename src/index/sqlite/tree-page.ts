/**
 * A page of a b-tree while it is filled (sqlite.org/fileformat2.html, "B-tree Pages"): a head, behind it pointers to the
 * cells, and the cells from the end of the page backwards.
 */

import { PAGE_SIZE } from './page-file.js';

/** Offsets in the head, which is longer above the leaves. */
const CELL_COUNT = 3;
const CELLS_START = 5;
const LAST_CHILD = 8;
const LEAF_HEAD = 8;
const INTERIOR_HEAD = 12;
const POINTER_SIZE = 2;

export class TreePage {
  readonly bytes = Buffer.alloc(PAGE_SIZE);
  readonly #head: number;
  #count = 0;
  #start = PAGE_SIZE;

  constructor(level: 'leaf' | 'interior') {
    this.#head = level === 'leaf' ? LEAF_HEAD : INTERIOR_HEAD;
  }

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  /** Whether there is room for cells of `size` bytes in all. */
  fits(size: number, cells = 1): boolean {
    return this.#head + (this.#count + cells) * POINTER_SIZE + size <= this.#start;
  }

  /** Adds a cell, which has to fit; returns where its bytes go. */
  addCell(size: number): number {
    this.#start -= size;
    this.bytes.writeUInt16BE(this.#start, this.#pointerOf(this.#count));
    this.#count += 1;
    return this.#start;
  }

  /** Takes the last cell away; returns a copy of it. */
  takeLastCell(): Buffer {
    this.#count -= 1;
    const end =
      this.#count === 0 ? PAGE_SIZE : this.bytes.readUInt16BE(this.#pointerOf(this.#count - 1));
    const cell = Buffer.from(this.bytes.subarray(this.#start, end));
    this.#start = end;
    return cell;
  }

  /**
   * The whole page; it can be filled again then.
   * @param type of the page in its first byte
   * @param lastChild the page below that has what comes after the last cell; of no leaf
   */
  finish(type: number, lastChild?: number): Buffer {
    this.bytes.fill(0, this.#pointerOf(this.#count), this.#start);
    this.bytes.fill(0, 0, this.#head);
    this.bytes[0] = type;
    this.bytes.writeUInt16BE(this.#count, CELL_COUNT);
    this.bytes.writeUInt16BE(this.#start, CELLS_START);
    if (lastChild !== undefined) this.bytes.writeUInt32BE(lastChild, LAST_CHILD);
    this.#count = 0;
    this.#start = PAGE_SIZE;
    return this.bytes;
  }

  #pointerOf(cell: number): number {
    return this.#head + cell * POINTER_SIZE;
  }
}

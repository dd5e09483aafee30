/**
 * A page of a directory's listing: up to {@link PAGE_ENTRIES} names in order, each with all attributes,
 * packed so that answering a READDIRPLUS is one look-up in the index and one pass over its bytes. The
 * kernel asks for the listing of every folder that `find` walks, cold.
 *
 * Little-endian: the directory that holds this one (u32), how many entries (u8), then each entry: which parts it has (u8, see {@link HAS}), length
 * of the name (u8), inode (u32), low half of the size (u32), the parts, the name. Values whose part is
 * missing are those of the entry before, but the high half of the size is 0; before the first entry
 * everything is 0.
 */

import { type Inode, blankInode } from './layer-model.js';
import { PAGE_ENTRIES } from './schema.js';

/** Bits that tell which parts an entry has, in the order of the parts. */
const HAS = {
  /** High half of the size (u32). */
  largeSize: 1,
  /** Mode, links, user, group, device's major and minor number (u32 each). */
  kind: 2,
  /** Seconds (i64) and nanoseconds (u32). */
  time: 4,
} as const;

/** Bytes before the first entry. */
const HEAD = 5;
/** Bytes of an entry without parts and name. */
const FIXED = 10;
const KIND = 24;
const TIME = 12;
const LARGEST = FIXED + 4 + KIND + TIME + 255;
/** Bytes of the largest page. */
export const MAX_PAGE = HEAD + PAGE_ENTRIES * LARGEST;
const TWO_32 = 2 ** 32;

/** Packs the entries of one page after another. */
export class ListingPacker {
  readonly #buffer = Buffer.alloc(MAX_PAGE);
  #length = HEAD;
  #count = 0;
  #last: Inode = blankInode;

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  get isFull(): boolean {
    return this.#count === PAGE_ENTRIES;
  }

  /** @param name 1 to 255 bytes */
  add(name: Uint8Array, inode: Inode): void {
    const buffer = this.#buffer;
    const high = Math.floor(inode.size / TWO_32);
    const parts =
      (high === 0 ? 0 : HAS.largeSize) |
      (isSameKind(inode, this.#last) ? 0 : HAS.kind) |
      (isSameTime(inode, this.#last) ? 0 : HAS.time);
    let at = buffer.writeUInt8(parts, this.#length);
    at = buffer.writeUInt8(name.length, at);
    at = buffer.writeUInt32LE(inode.ino, at);
    at = buffer.writeUInt32LE(inode.size % TWO_32, at);
    if ((parts & HAS.largeSize) !== 0) at = buffer.writeUInt32LE(high, at);
    if ((parts & HAS.kind) !== 0) at = this.#addKind(inode, at);
    if ((parts & HAS.time) !== 0) at = this.#addTime(inode, at);
    buffer.set(name, at);
    this.#length = at + name.length;
    this.#count += 1;
    this.#last = inode;
  }

  /**
   * The page so far; the next begins empty.
   * @param parent the directory that holds the one whose entries these are
   */
  take(parent: number): Buffer {
    this.#buffer.writeUInt8(this.#count, this.#buffer.writeUInt32LE(parent, 0));
    const page = Buffer.from(this.#buffer.subarray(0, this.#length));
    this.#length = HEAD;
    this.#count = 0;
    this.#last = blankInode;
    return page;
  }

  #addKind({ mode, nlink, uid, gid, rdevMajor, rdevMinor }: Inode, start: number): number {
    let at = start;
    for (const value of [mode, nlink, uid, gid, rdevMajor, rdevMinor])
      at = this.#buffer.writeUInt32LE(value, at);
    return at;
  }

  #addTime({ mtimeSeconds, mtimeNanoseconds }: Inode, start: number): number {
    const at = this.#buffer.writeBigInt64LE(BigInt(mtimeSeconds), start);
    return this.#buffer.writeUInt32LE(mtimeNanoseconds, at);
  }
}

/** An entry of a directory, as long as the listing stands on it. */
export interface ListedEntry extends Inode {
  /** The name is what lies from {@link nameStart} to {@link nameEnd} here. */
  readonly bytes: Uint8Array;
  readonly nameStart: number;
  readonly nameEnd: number;
  /** Copies that stay. */
  name(): Buffer;
  inode(): Inode;
}

/**
 * Walks a page entry by entry, and is itself the inode of the entry where it stands, so that nothing is
 * allocated. Pages may come from anywhere: what is read stays within the page.
 */
export class ListingCursor implements ListedEntry {
  ino = 0;
  mode = 0;
  nlink = 0;
  uid = 0;
  gid = 0;
  size = 0;
  mtimeSeconds = 0;
  mtimeNanoseconds = 0;
  rdevMajor = 0;
  rdevMinor = 0;
  readonly bytes: Buffer;
  nameStart = 0;
  nameEnd = HEAD;
  /** The directory that holds the one whose entries these are. */
  readonly parent: number;
  readonly #view: DataView;
  #left: number;

  /** @throws RangeError where the page is shorter than its head */
  constructor(page: Buffer) {
    this.bytes = page;
    this.#view = new DataView(page.buffer, page.byteOffset, page.byteLength);
    this.parent = this.#view.getUint32(0, true);
    this.#left = this.#view.getUint8(4);
  }

  /** Entries behind the one where it stands. */
  get left(): number {
    return this.#left;
  }

  /**
   * Goes to the next entry; false where there is none.
   * @throws RangeError where the page is cut short or has values that no file has
   */
  next(): boolean {
    if (this.#left === 0) return false;
    this.#left -= 1;
    const view = this.#view;
    const start = this.nameEnd;
    const parts = view.getUint8(start);
    let at = start + FIXED;
    this.ino = view.getUint32(start + 2, true);
    this.size = view.getUint32(start + 6, true);
    if ((parts & HAS.largeSize) !== 0) {
      this.size += view.getUint32(at, true) * TWO_32;
      at += 4;
    }
    if ((parts & HAS.kind) !== 0) at = this.#readKind(at);
    if ((parts & HAS.time) !== 0) at = this.#readTime(at);
    this.nameStart = at;
    this.nameEnd = at + view.getUint8(start + 1);
    if (this.nameEnd > view.byteLength || this.size > Number.MAX_SAFE_INTEGER)
      throw new RangeError('an entry of a listing is not possible');
    return true;
  }

  name(): Buffer {
    return Buffer.from(this.bytes.subarray(this.nameStart, this.nameEnd));
  }

  inode(): Inode {
    const { ino, mode, nlink, uid, gid, size } = this;
    const { mtimeSeconds, mtimeNanoseconds, rdevMajor, rdevMinor } = this;
    return {
      ino,
      mode,
      nlink,
      uid,
      gid,
      size,
      mtimeSeconds,
      mtimeNanoseconds,
      rdevMajor,
      rdevMinor,
    };
  }

  #readKind(at: number): number {
    const view = this.#view;
    this.mode = view.getUint32(at, true);
    this.nlink = view.getUint32(at + 4, true);
    this.uid = view.getUint32(at + 8, true);
    this.gid = view.getUint32(at + 12, true);
    this.rdevMajor = view.getUint32(at + 16, true);
    this.rdevMinor = view.getUint32(at + 20, true);
    return at + KIND;
  }

  #readTime(at: number): number {
    const view = this.#view;
    this.mtimeSeconds = view.getUint32(at, true) + view.getInt32(at + 4, true) * TWO_32;
    this.mtimeNanoseconds = view.getUint32(at + 8, true);
    if (!Number.isSafeInteger(this.mtimeSeconds) || this.mtimeNanoseconds >= 1e9)
      throw new RangeError('a time in a listing is not possible');
    return at + TIME;
  }
}

function isSameKind(a: Inode, b: Inode): boolean {
  return (
    a.mode === b.mode &&
    a.nlink === b.nlink &&
    a.uid === b.uid &&
    a.gid === b.gid &&
    a.rdevMajor === b.rdevMajor &&
    a.rdevMinor === b.rdevMinor
  );
}

function isSameTime(a: Inode, b: Inode): boolean {
  return a.mtimeSeconds === b.mtimeSeconds && a.mtimeNanoseconds === b.mtimeNanoseconds;
}

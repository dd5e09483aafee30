/**
 * An answer to the kernel: `struct fuse_out_header` of <linux/fuse.h>, then the operation's result,
 * written in place into one buffer that is used again and again.
 */

import type { Inode } from '../../index/layer-model.js';

/** Bytes of `fuse_out_header`. */
export const replyHeaderSize = 16;
/** Bytes of `fuse_entry_out`, with its `fuse_attr`. */
const entrySize = 128;
/** Bytes of `fuse_dirent` before the name. */
const direntSize = 24;
const attributeSize = 88;

/** `S_IFMT`: the bits of a mode that are the file's type. */
const typeMask = 0o170000;

/** How long the kernel may keep a name or attributes, in seconds. */
export interface Validity {
  entry: number;
  attributes: number;
}

/** A directory entry on its way into a reply; its inode number is one within `layer`. */
export interface DirectoryRecord {
  entry: NamedInode;
  layer: number;
  /** Where the next reading of the directory goes on. */
  next: number;
}

/** An inode and where its name lies: from `nameStart` to `nameEnd` of `bytes`. */
export interface NamedInode extends Inode {
  readonly bytes: Uint8Array;
  readonly nameStart: number;
  readonly nameEnd: number;
}

/** A whole answer that says that the request failed. @param errno positive */
export function failureReply(uniqueLow: number, uniqueHigh: number, errno: number): Buffer {
  const message = Buffer.alloc(replyHeaderSize);
  message.writeUInt32LE(message.length, 0);
  message.writeInt32LE(-errno, 4);
  message.writeUInt32LE(uniqueLow, 8);
  message.writeUInt32LE(uniqueHigh, 12);
  return message;
}

export class Reply {
  readonly buffer: Buffer;
  readonly #view: DataView;
  /** Bytes so far, header included. */
  length = replyHeaderSize;

  /** @param capacity bytes of the largest result, without the header */
  constructor(capacity: number) {
    this.buffer = Buffer.alloc(replyHeaderSize + capacity);
    this.#view = new DataView(this.buffer.buffer, this.buffer.byteOffset, this.buffer.byteLength);
  }

  /** Bytes that still fit. */
  get room(): number {
    return this.buffer.length - this.length;
  }

  /** Forgets all results. */
  clear(): void {
    this.length = replyHeaderSize;
  }

  /** Writes the header. An `errno` (positive) takes the place of all results. */
  finish(uniqueLow: number, uniqueHigh: number, errno: number): void {
    if (errno !== 0) this.clear();
    const view = this.#view;
    view.setUint32(0, this.length, true);
    view.setInt32(4, errno === 0 ? 0 : -errno, true);
    view.setUint32(8, uniqueLow, true);
    view.setUint32(12, uniqueHigh, true);
  }

  bytes(bytes: Uint8Array): void {
    this.buffer.set(bytes, this.length);
    this.length += bytes.length;
  }

  /** `fuse_entry_out`. */
  entry(layer: number, inode: Inode, validity: Validity): void {
    this.#entry(this.length, layer, inode, validity);
    this.length += entrySize;
  }

  /** `fuse_entry_out` with node id 0: there is no such name, and the kernel may remember that. */
  noEntry(validity: number): void {
    const start = this.length;
    this.buffer.fill(0, start, start + entrySize);
    this.#u64(start + 16, validity);
    this.length += entrySize;
  }

  /** `fuse_attr_out`. */
  attributes(layer: number, inode: Inode, validity: number): void {
    const start = this.length;
    this.#u64(start, validity);
    this.#u64(start + 8, 0);
    this.#attributes(start + 16, layer, inode);
    this.length += 16 + attributeSize;
  }

  /** `fuse_dirent`. @returns false, with nothing written, where it would pass `limit` bytes of results */
  directoryEntry(record: DirectoryRecord, limit: number): boolean {
    const size = aligned(direntSize + nameLength(record));
    if (!this.#fits(size, limit)) return false;
    this.#dirent(this.length, record);
    this.length += size;
    return true;
  }

  /**
   * `fuse_direntplus`: an entry with its attributes. Without `validity` the kernel learns the name
   * only, as it must for `.` and `..`. @returns as {@link directoryEntry}
   */
  directoryEntryPlus(record: DirectoryRecord, limit: number, validity?: Validity): boolean {
    const size = entrySize + aligned(direntSize + nameLength(record));
    if (!this.#fits(size, limit)) return false;
    if (validity === undefined) this.buffer.fill(0, this.length, this.length + entrySize);
    else this.#entry(this.length, record.layer, record.entry, validity);
    this.#dirent(this.length + entrySize, record);
    this.length += size;
    return true;
  }

  /** `fuse_getxattr_out`: how many bytes a value or a list of names takes. */
  size(size: number): void {
    this.#view.setUint32(this.length, size, true);
    this.#view.setUint32(this.length + 4, 0, true);
    this.length += 8;
  }

  /** `fuse_lseek_out`. */
  offset(offset: number): void {
    this.#u64(this.length, offset);
    this.length += 8;
  }

  /** `fuse_open_out` without a handle. */
  opened(openFlags: number): void {
    this.#u64(this.length, 0);
    this.#u64(this.length + 8, openFlags);
    this.length += 16;
  }

  /** `fuse_statfs_out`. Counts are of `blockSize` bytes. */
  statistics(of: FileSystemStatistics): void {
    const start = this.length;
    this.buffer.fill(0, start, start + 80);
    this.#u64(start, of.blocks);
    this.#u64(start + 8, of.freeBlocks);
    this.#u64(start + 16, of.availableBlocks);
    this.#u64(start + 24, of.files);
    this.#u64(start + 32, of.freeFiles);
    this.#view.setUint32(start + 40, of.blockSize, true);
    this.#view.setUint32(start + 44, of.nameLength, true);
    this.#view.setUint32(start + 48, of.blockSize, true);
    this.length += 80;
  }

  #fits(size: number, limit: number): boolean {
    return size <= this.room && this.length - replyHeaderSize + size <= limit;
  }

  #entry(at: number, layer: number, inode: Inode, validity: Validity): void {
    const view = this.#view;
    view.setUint32(at, inode.ino, true);
    view.setUint32(at + 4, layer, true);
    this.#u64(at + 8, 0); // generation: a node id is never given twice
    this.#u64(at + 16, validity.entry);
    this.#u64(at + 24, validity.attributes);
    this.#u64(at + 32, 0);
    this.#attributes(at + 40, layer, inode);
  }

  #attributes(at: number, layer: number, inode: Inode): void {
    const view = this.#view;
    view.setUint32(at, inode.ino, true);
    view.setUint32(at + 4, layer, true);
    this.#u64(at + 8, inode.size);
    this.#u64(at + 16, Math.ceil(inode.size / 512));
    for (let time = 0; time < 3; time += 1) {
      this.#u64(at + 24 + time * 8, inode.mtimeSeconds);
      view.setUint32(at + 48 + time * 4, inode.mtimeNanoseconds, true);
    }
    view.setUint32(at + 60, inode.mode, true);
    view.setUint32(at + 64, inode.nlink, true);
    view.setUint32(at + 68, inode.uid, true);
    view.setUint32(at + 72, inode.gid, true);
    view.setUint32(at + 76, encodeDevice(inode.rdevMajor, inode.rdevMinor), true);
    view.setUint32(at + 80, 4096, true);
    view.setUint32(at + 84, 0, true);
  }

  #dirent(start: number, { entry, layer, next }: DirectoryRecord): void {
    const { bytes, nameStart, nameEnd } = entry;
    const { buffer } = this;
    const view = this.#view;
    view.setUint32(start, entry.ino, true);
    view.setUint32(start + 4, layer, true);
    this.#u64(start + 8, next);
    view.setUint32(start + 16, nameEnd - nameStart, true);
    view.setUint32(start + 20, (entry.mode & typeMask) >>> 12, true);
    // Names are short: a loop is faster than a call for each.
    let at = start + direntSize;
    for (let from = nameStart; from < nameEnd; from += 1) buffer[at++] = bytes[from] ?? 0;
    while ((at & 7) !== (start & 7)) buffer[at++] = 0;
  }

  /** Integers up to 2^53; negative ones (times before 1970) in two's complement. */
  #u64(at: number, value: number): void {
    this.#view.setUint32(at, value, true);
    this.#view.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
  }
}

export interface FileSystemStatistics {
  blocks: number;
  freeBlocks: number;
  availableBlocks: number;
  files: number;
  freeFiles: number;
  /** Bytes. */
  blockSize: number;
  /** Longest file name, in bytes. */
  nameLength: number;
}

function nameLength({ entry }: DirectoryRecord): number {
  return entry.nameEnd - entry.nameStart;
}

function aligned(size: number): number {
  return (size + 7) & ~7;
}

/** The kernel's `new_encode_dev`: minor in bits 0-7 and 20-31, major in bits 8-19. */
export function encodeDevice(major: number, minor: number): number {
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}

/**
 * One request of the kernel, as read from /dev/fuse: `struct fuse_in_header` of <linux/fuse.h>, then
 * the operation's arguments. A {@link Request} is loaded again for each message, so nothing is
 * allocated; what it gives out as a Buffer is a view that ends with the next {@link Request.load}.
 * 64-bit values that identify something are given as two 32-bit halves. Little-endian, as every
 * machine that Node and FUSE meet on.
 */

/** Bytes of `fuse_in_header`. */
export const requestHeaderSize = 40;

/**
 * Largest request that is taken: the kernel wants room for a write of `max_write` (which we set to
 * its minimum, a page) or for an extended attribute's value of 64 KiB.
 */
export const requestBufferSize = 68 * 1024 + requestHeaderSize;

/** A message that breaks the protocol. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
}

export class Request {
  readonly buffer: Buffer;
  readonly #view: DataView;
  /** Bytes of the message loaded. */
  length = 0;
  opcode = 0;
  uniqueLow = 0;
  uniqueHigh = 0;
  /** High half of the node id: the layer; 0 for the root directory. */
  layer = 0;
  /** Low half of the node id: the inode of the layer. */
  ino = 0;
  uid = 0;
  /** Thread id of the caller; 0 where it has none in our pid namespace. */
  pid = 0;

  constructor(buffer: Buffer = Buffer.alloc(requestBufferSize)) {
    this.buffer = buffer;
    this.#view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
  }

  /** Reads the header of a message of `length` bytes at the start of the buffer. @throws ProtocolError */
  load(length: number): void {
    const view = this.#view;
    this.length = length;
    if (length < requestHeaderSize || view.getUint32(0, true) !== length) {
      throw new ProtocolError(
        `Cannot read FUSE request: it is ${length} bytes, expected what its header says`,
      );
    }
    this.opcode = view.getUint32(4, true);
    this.uniqueLow = view.getUint32(8, true);
    this.uniqueHigh = view.getUint32(12, true);
    this.ino = view.getUint32(16, true);
    this.layer = view.getUint32(20, true);
    this.uid = view.getUint32(24, true);
    this.pid = view.getUint32(32, true);
  }

  /** A u32 argument, `at` bytes after the header. @throws ProtocolError where the message is shorter */
  u32(at: number): number {
    return this.#view.getUint32(this.#place(at, 4), true);
  }

  /** A u64 argument that is a size or an offset in a file; 2^53 and more come out rounded. */
  u64(at: number): number {
    const place = this.#place(at, 8);
    return this.#view.getUint32(place, true) + this.#view.getUint32(place + 4, true) * 2 ** 32;
  }

  /** A NUL-terminated name, `at` bytes after the header, without the NUL. @throws ProtocolError */
  name(at: number): Buffer {
    const start = this.#place(at, 1);
    const end = this.buffer.indexOf(0, start);
    if (end < 0 || end >= this.length) {
      throw new ProtocolError('Cannot read FUSE request: its name is not terminated');
    }
    return this.buffer.subarray(start, end);
  }

  #place(at: number, size: number): number {
    const place = requestHeaderSize + at;
    if (place + size > this.length) {
      throw new ProtocolError(
        `Cannot read FUSE request: opcode ${this.opcode} is ${this.length} bytes, expected at least ${place + size}`,
      );
    }
    return place;
  }
}

/**
 * A request's `unique` as one number, to find it again by. The bit that marks a resent request
 * (FUSE_UNIQUE_RESEND, 63) and others that a counter never reaches are left out.
 */
export function uniqueKey(low: number, high: number): number {
  return (high & 0xfffff) * 2 ** 32 + low;
}

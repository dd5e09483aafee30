/**
 * The spans of one layer that have arrived: a sparse file `data`, addressed by tar offset, and a file
 * `present` with one byte a span. Whoever writes has verified the bytes.
 *
 * A span is written to `data` before `present` says so. After a crash of the process the kernel still has
 * both. After a crash of the machine `data` may be older than `present`, so a byte there says either
 * "written, in the boot named in the header" or "synced": of the former kind only those of this boot count.
 *
 * Several processes may have one cache open. The files are made and brought to shape under a lock on
 * `present`; from then on both only gain spans, each by bytes that are the same whoever writes them. Whoever
 * has a cache open has a shared lock on `data`, and spans are taken out only by one who can have it alone:
 * first their presence goes, for good, then their bytes. A reader looks at presence before and after it reads.
 */

import { createHash } from 'node:crypto';
import {
  closeSync,
  constants,
  fdatasyncSync,
  fstatSync,
  ftruncateSync,
  futimesSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  writeSync,
} from 'node:fs';
import { write } from 'node:fs';
import { join } from 'node:path';
import { isDiskFull } from '../common/disk-full.js';
import { SiphonError, errorMessage } from '../common/errors.js';
import { lockFile, punchHole, shareFile, tryLockFile, unlockFile } from '../ffi/libc.js';

const STATE = { absent: 0, written: 1, synced: 2 } as const;

/** Header of `present`: magic, sha256 of the bounds, boot id. An index that is made again may have cut its spans elsewhere. */
const MAGIC = 'siphon span cache 2\n';
const HEADER_SIZE = 128;
const BOUNDS_AT = 32;
const BOOT_ID_AT = 64;
const BOOT_ID_SIZE = 36;

export class SpanCache implements Disposable {
  /** Sparse file, addressed by tar offset. */
  readonly dataPath: string;
  readonly fd: number;
  /** One byte a span, non-zero where it is present; shared with the threads that serve it. */
  readonly presence: SharedArrayBuffer;
  /** Seconds since the epoch when each span was last read; shared likewise. Kept as one time a layer. */
  readonly used: SharedArrayBuffer;
  readonly #used: Uint32Array;
  readonly #present: Uint8Array;
  readonly #presentFd: number;
  readonly #bounds: Float64Array;
  #presentBytes = 0;
  #closed = false;

  /**
   * Opens or creates the cache in `directory`. One of other spans is emptied.
   * @param bounds the layer's `spanBounds`
   * @throws the Node system error where the files cannot be opened
   */
  static open(directory: string, bounds: Float64Array): SpanCache {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const dataPath = join(directory, 'data');
    const fd = openCreating(dataPath);
    try {
      return new SpanCache(
        { dataPath, fd, presentFd: openCreating(join(directory, 'present')) },
        bounds,
      );
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /** Use {@link open}. */
  private constructor(
    files: { dataPath: string; fd: number; presentFd: number },
    bounds: Float64Array,
  ) {
    this.dataPath = files.dataPath;
    this.fd = files.fd;
    this.#presentFd = files.presentFd;
    this.#bounds = bounds;
    this.presence = new SharedArrayBuffer(bounds.length - 1);
    this.#present = new Uint8Array(this.presence);
    this.used = new SharedArrayBuffer(this.presence.byteLength * Uint32Array.BYTES_PER_ELEMENT);
    this.#used = new Uint32Array(this.used).fill(fstatSync(this.#presentFd).mtimeMs / 1000);
    lockFile(this.#presentFd);
    try {
      shareFile(this.fd);
      this.#load();
    } finally {
      unlockFile(this.#presentFd);
    }
  }

  has(span: number): boolean {
    return (this.#present[span] ?? STATE.absent) !== STATE.absent;
  }

  /**
   * Stores the verified bytes of a span at its tar offset and then marks it present.
   * @throws SiphonError `no-space`; or the Node system error
   */
  async write(span: number, offset: number, bytes: Uint8Array): Promise<void> {
    if (this.has(span)) return;
    await writeFully(this.fd, offset, bytes);
    if (this.#closed) return;
    writeSync(this.#presentFd, Uint8Array.of(STATE.written), 0, 1, HEADER_SIZE + span);
    this.#used[span] = Date.now() / 1000;
    this.#present[span] = STATE.written;
    this.#presentBytes += bytes.length;
  }

  /** When the span was last read or written, in seconds since the epoch. */
  lastUse(span: number): number {
    return this.#used[span] ?? 0;
  }

  /**
   * Gives the disk space of spans back.
   * @returns false where another process has the cache open, and nothing is done
   * @throws the system error, with presence gone and bytes perhaps still there
   */
  evict(spans: readonly number[]): boolean {
    if (!tryLockFile(this.#presentFd)) return false;
    try {
      // No other process is between these two: each has the first lock before it asks for the second.
      const isAlone = tryLockFile(this.fd);
      // What is absent may be about to be written.
      if (isAlone) this.#evictAll(spans.filter((span) => this.has(span)));
      shareFile(this.fd);
      return isAlone;
    } finally {
      unlockFile(this.#presentFd);
    }
  }

  /** Looks for spans among `first` to `last` that another process has brought. */
  refresh(first: number, last: number): void {
    const states = Buffer.alloc(last - first + 1);
    const length = readSync(this.#presentFd, states, 0, states.length, HEADER_SIZE + first);
    for (const [at, state] of states.subarray(0, length).entries()) {
      if (state === STATE.absent || this.has(first + at)) continue;
      this.#present[first + at] = state;
      this.#presentBytes += this.#lengthOf(first + at);
    }
  }

  /** Bytes of the spans that are present. */
  presentBytes(): number {
    return this.#presentBytes;
  }

  /** Makes what was written survive a crash of the machine. */
  sync(): void {
    if (!this.#present.includes(STATE.written)) return;
    // Those that are written meanwhile are not in this copy.
    const before = Uint8Array.from(this.#present);
    fdatasyncSync(this.fd);
    for (const [span, state] of before.entries()) {
      if (state !== STATE.written) continue;
      this.#present[span] = STATE.synced;
      writeSync(this.#presentFd, Uint8Array.of(STATE.synced), 0, 1, HEADER_SIZE + span);
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    try {
      this.sync();
      const lastUse = this.#used.reduce((latest, time) => Math.max(latest, time), 0);
      futimesSync(this.#presentFd, lastUse, lastUse);
    } catch {
      // What is not known to be synced counts until the machine starts anew.
    }
    closeSync(this.#presentFd);
    closeSync(this.fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #load(): void {
    const header = headerFor(this.#bounds);
    const record = Buffer.alloc(HEADER_SIZE + this.#present.length);
    const length = readSync(this.#presentFd, record, 0, record.length, 0);
    const hasSameSpans =
      length === record.length &&
      record.compare(header, 0, BOOT_ID_AT, 0, BOOT_ID_AT) === 0 &&
      fstatSync(this.fd).size === this.#tarSize;
    if (!hasSameSpans) {
      record.fill(0);
      ftruncateSync(this.fd, 0);
    }
    const isSameBoot = record.compare(header, 0, HEADER_SIZE, 0, HEADER_SIZE) === 0;
    this.#adopt(record.subarray(HEADER_SIZE), isSameBoot);
    if (!isSameBoot) this.#rewrite(header);
  }

  #adopt(states: Uint8Array, isSameBoot: boolean): void {
    for (const [span, state] of states.entries()) {
      const counts = state === STATE.synced || (state === STATE.written && isSameBoot);
      if (!counts) continue;
      this.#present[span] = state;
      this.#presentBytes += this.#lengthOf(span);
    }
  }

  #evictAll(spans: readonly number[]): void {
    for (const span of spans) {
      writeSync(this.#presentFd, Uint8Array.of(STATE.absent), 0, 1, HEADER_SIZE + span);
      Atomics.store(this.#present, span, STATE.absent);
      this.#presentBytes -= this.#lengthOf(span);
    }
    // A power cut must not bring presence back for bytes that are gone.
    fdatasyncSync(this.#presentFd);
    for (const span of spans) punchHole(this.fd, this.#startOf(span), this.#lengthOf(span));
  }

  get #tarSize(): number {
    return this.#bounds.at(-1) ?? 0;
  }

  #startOf(span: number): number {
    return this.#bounds[span] ?? 0;
  }

  /** States go first: a crash in between leaves a record of the old boot, never one that promises more. */
  #rewrite(header: Buffer): void {
    ftruncateSync(this.#presentFd, HEADER_SIZE + this.#present.length);
    ftruncateSync(this.fd, this.#tarSize);
    writeSync(
      this.#presentFd,
      Uint8Array.from(this.#present),
      0,
      this.#present.length,
      HEADER_SIZE,
    );
    fdatasyncSync(this.#presentFd);
    writeSync(this.#presentFd, header, 0, HEADER_SIZE, 0);
  }

  #lengthOf(span: number): number {
    return this.#startOf(span + 1) - this.#startOf(span);
  }
}

function openCreating(path: string): number {
  return openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
}

function headerFor(bounds: Float64Array): Buffer {
  const header = Buffer.alloc(HEADER_SIZE);
  header.write(MAGIC, 'latin1');
  createHash('sha256').update(bounds).digest().copy(header, BOUNDS_AT);
  header.write(
    readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').slice(0, BOOT_ID_SIZE),
    BOOT_ID_AT,
    'latin1',
  );
  return header;
}

async function writeFully(fd: number, offset: number, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    at += await writeSome(fd, bytes.subarray(at), offset + at);
  }
}

function writeSome(fd: number, bytes: Uint8Array, offset: number): Promise<number> {
  return new Promise((resolve, reject) => {
    write(fd, bytes, 0, bytes.length, offset, (error, written) => {
      if (error === null) resolve(written);
      else reject(asSpaceError(error));
    });
  });
}

function asSpaceError(error: Error): Error {
  if (!isDiskFull(error)) return error;
  return new SiphonError(
    'no-space',
    `Cannot cache span: ${errorMessage(error)}, expected room for it`,
    { cause: error },
  );
}

/**
 * A layer's blob as it is read from elsewhere, in parts that are kept: what has come, for a read or to have the
 * layer whole, is not asked for again, and the same byte is never on its way twice. Kept or not, bytes are as
 * unverified as those of the source; whoever rejects them asks `elsewhere`, and what comes from there takes their
 * place.
 *
 * Of a server that sends no ranges the blob is streamed whole, once, and reads wait until the stream is past
 * what they want.
 */

import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { BlobSource } from '../common/blob-source.js';
import { SiphonError, errorCode, errorMessage } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import { type ByteRange, RangeSet } from '../common/range-set.js';
import { untilAborted } from '../common/until-aborted.js';
import { Urgency } from '../common/urgency.js';
import { BlobParts } from './blob-parts.js';
import { Transfer } from './transfer.js';

/** Bytes of one request that fills a hole: what a read that comes right after it has to wait for. */
const FILL_SIZE = 1 << 20;
/** Bytes of one request where the blob is wanted in order, and such requests at a time. */
const PIECE_SIZE = 2 << 20;
const PIECES = 4;
/** Bytes that wait to be written, beyond which nothing more is asked for. */
const MAX_UNWRITTEN = 32 << 20;

export interface LayerBlobOptions {
  remote: BlobSource;
  /** What is here of it; absent where nothing is to be kept. */
  parts: BlobParts | undefined;
  /** The layer's folder, for what a server without ranges sends. */
  directory: string;
  log: Logger;
}

/** A stream of the whole blob under way. */
interface Stream {
  done: Promise<void>;
  /** Called, and forgotten, when more is here. */
  waiting: Set<() => void>;
}

export class LayerBlob implements BlobSource {
  readonly name: string;
  readonly size: number;
  readonly local = false;
  readonly #options: LayerBlobOptions;
  readonly #closing = new AbortController();
  readonly #transfers = new Set<Transfer>();
  readonly #writes = new Set<Promise<void>>();
  #parts: BlobParts | undefined;
  #opening: Promise<unknown> | undefined;
  /** Whether the parts are this process's alone, and gone with it. */
  #isOwn = false;
  #remote: BlobSource;
  #stream: Stream | undefined;
  /** The blob in the content store, once it is there. */
  #whole: BlobSource | undefined;
  /** Whether the disk took nothing the last time. */
  #refused = false;
  #unwritten = 0;
  /** Grows whenever what is here turns out to be wrong: what was asked for before is not kept then. */
  #drawn = 0;

  constructor(options: LayerBlobOptions) {
    this.#options = options;
    this.#parts = options.parts;
    this.#remote = options.remote;
    this.name = options.remote.name;
    this.size = options.remote.size;
  }

  get requestCost(): number {
    return this.#remote.requestCost ?? 0;
  }

  /** Bytes that are here. */
  get present(): number {
    return this.#whole === undefined ? (this.#parts?.present ?? 0) : this.size;
  }

  async read(
    offset: number,
    length: number,
    signal: AbortSignal,
    urgency = new Urgency('waiting'),
  ): Promise<Buffer> {
    if (this.#whole !== undefined) return this.#whole.read(offset, length, signal);
    const range = { start: offset, end: offset + length };
    const { here, transfers } = this.#cover(range, urgency);
    const [only] = transfers;
    if (only?.range.start === range.start && only.range.end === range.end) return only.wait(signal);
    const bytes = Buffer.allocUnsafe(length);
    const copy = (from: Buffer, at: number): void => {
      const first = Math.max(at, range.start);
      const last = Math.min(at + from.length, range.end);
      bytes.set(from.subarray(first - at, last - at), first - range.start);
    };
    await Promise.all([
      ...here.map(async (part) => copy(await this.#readPart(part), part.start)),
      ...transfers.map(async (one) => copy(await one.wait(signal), one.range.start)),
    ]);
    return bytes;
  }

  /** In order: in one request where it is waited for and nothing is here, else several pieces at a time. */
  async *stream(
    signal: AbortSignal,
    from = 0,
    urgency = new Urgency('waiting'),
  ): AsyncGenerator<Uint8Array> {
    const isInOne = urgency.class === 'waiting' && this.present === 0;
    yield* isInOne ? this.#streamRest(from, signal) : this.#streamPieces(from, signal, urgency);
  }

  async *#streamRest(from: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    let offset = from;
    for await (const chunk of this.#remote.stream(signal, from)) {
      if (this.#parts !== undefined) await this.#keep(offset, chunk);
      offset += chunk.length;
      yield chunk;
    }
  }

  async *#streamPieces(
    from: number,
    signal: AbortSignal,
    urgency: Urgency,
  ): AsyncGenerator<Uint8Array> {
    const stop = new AbortController();
    const either = AbortSignal.any([signal, stop.signal]);
    const ahead: Promise<Buffer>[] = [];
    let next = from;
    try {
      while (next < this.size || ahead.length > 0) {
        while (next < this.size && ahead.length < PIECES) {
          const length = Math.min(PIECE_SIZE, this.size - next);
          const piece = this.read(next, length, either, urgency);
          piece.catch(() => undefined); // seen when its turn comes, which it may not
          ahead.push(piece);
          next += length;
        }
        const piece = await ahead.shift();
        if (piece !== undefined) yield piece;
      }
    } finally {
      stop.abort();
    }
  }

  elsewhere(rejected: number): BlobSource {
    const { name, size, local } = this;
    const source = this.#remote.elsewhere?.(rejected) ?? this.#remote;
    return {
      name,
      size,
      local,
      read: async (offset, length, signal, urgency) => {
        const range = { start: offset, end: offset + length };
        const bytes = await this.#fetch(source, range, signal, urgency, { isNew: true });
        await this.#keep(offset, bytes);
        return bytes;
      },
      stream: (...args) => {
        this.drawAnew(rejected);
        return this.stream(...args);
      },
      close: () => Promise.resolve(),
    };
  }

  /**
   * Fetches some of what is missing, from the start on, holes with little between them at once.
   * @returns `false` where nothing is missing any more, or nothing is kept
   * @throws as {@link read}; SiphonError `no-space`
   */
  async fill(signal: AbortSignal): Promise<boolean> {
    const [first, ...others] = this.#parts?.missing() ?? [];
    if (this.#whole !== undefined || first === undefined) return false;
    const limit = first.start + FILL_SIZE;
    let { end } = first;
    for (const hole of others) {
      if (hole.start - end > this.requestCost || hole.start >= limit) break;
      end = hole.end;
    }
    const range = { start: first.start, end: Math.min(end, limit) };
    const { transfers } = this.#cover(range, new Urgency('fill'));
    await Promise.all(transfers.map((one) => one.wait(signal)));
    await this.written();
    if (this.#refused) throw noRoom(this.name);
    return true;
  }

  /** Resolves when all that has come is kept, or was not taken by the disk. */
  async written(): Promise<void> {
    await Promise.all(this.#writes);
  }

  /** Forgets all that is here, because it is wrong, and asks another host from now on, where there is one. */
  drawAnew(rejected: number): void {
    this.#drawn += 1;
    this.#parts?.clear();
    this.#remote = this.#options.remote.elsewhere?.(rejected) ?? this.#options.remote;
  }

  /** What comes is kept from now on. @returns where; `undefined` where another process keeps it */
  async claim(): Promise<BlobParts | undefined> {
    if (this.#isOwn) return undefined;
    return this.#opened(() => BlobParts.open(this.#options.directory, this.size));
  }

  /** The blob is at `source` from now on, which is closed with this; the registry is not needed any more. */
  moveTo(source: BlobSource): void {
    this.#whole = source;
  }

  async close(): Promise<void> {
    this.#closing.abort(closed(this.name));
    await this.#stream?.done.catch(() => undefined);
    await Promise.all(this.#writes);
    await this.#parts?.close();
    await this.#options.remote.close();
    await this.#whole?.close();
  }

  /** What is here of a range, and the transfers that bring the rest, some of them under way already. */
  #cover(range: ByteRange, urgency: Urgency): { here: ByteRange[]; transfers: Transfer[] } {
    const missing = this.#parts?.missing(range) ?? [range];
    const absent = new RangeSet();
    for (const hole of missing) absent.add(hole);
    const known = [...this.#transfers].filter(
      ({ isGivenUp, range: { start, end } }) =>
        !isGivenUp && missing.some((hole) => start < hole.end && hole.start < end),
    );
    const coming = new RangeSet();
    for (const transfer of known) {
      transfer.urgency.raise(urgency.class);
      coming.add(transfer.range);
    }
    const holes = missing.flatMap((hole) => coming.missing(hole));
    const isCheap = (gap: ByteRange): boolean =>
      gap.end - gap.start <= this.requestCost && this.#parts?.has(gap) === true;
    const begun = joined(holes, isCheap).map((hole) => this.#transferOf(hole, urgency));
    return { here: absent.missing(range), transfers: [...known, ...begun] };
  }

  #transferOf(range: ByteRange, urgency: Urgency): Transfer {
    const drawn = this.#drawn;
    const transfer = new Transfer(range, urgency, async (stop) => {
      try {
        while (this.#unwritten > MAX_UNWRITTEN) await Promise.race(this.#writes);
        const signal = AbortSignal.any([stop, this.#closing.signal]);
        const bytes = await this.#fetch(this.#remote, range, signal, urgency);
        // Whoever waits goes on; who comes before it is written is served of the same bytes.
        if (drawn === this.#drawn) void this.#keep(range.start, bytes).finally(forget);
        else forget();
        return bytes;
      } catch (error) {
        forget();
        throw error;
      }
    });
    const forget = (): void => void this.#transfers.delete(transfer);
    this.#transfers.add(transfer);
    return transfer;
  }

  async #fetch(
    source: BlobSource,
    { start, end }: ByteRange,
    signal: AbortSignal,
    urgency: Urgency | undefined,
    { isNew } = { isNew: false },
  ): Promise<Buffer> {
    try {
      if (this.#stream === undefined) return await source.read(start, end - start, signal, urgency);
    } catch (error) {
      if (errorCode(error) !== 'unsupported') throw error;
    }
    return this.#fromStream(source, { start, end }, signal, isNew);
  }

  async #fromStream(
    source: BlobSource,
    range: ByteRange,
    signal: AbortSignal,
    isNew: boolean,
  ): Promise<Buffer> {
    const parts = await this.#opened(() => this.#newParts());
    if (isNew) await this.#endStream(parts);
    while (!parts.has(range)) {
      this.#stream ??= this.#begin(source, parts);
      const { waiting, done } = this.#stream;
      const more = new Promise<void>((resolve) => waiting.add(resolve));
      await untilAborted(Promise.race([done, more]), signal);
    }
    return parts.read(range);
  }

  /** Goes on though nobody waits any more, since whoever comes next would have to begin it anew. */
  #begin(source: BlobSource, parts: BlobParts): Stream {
    const waiting = new Set<() => void>();
    const copy = async (): Promise<void> => {
      let offset = 0;
      for await (const chunk of source.stream(this.#closing.signal)) {
        await parts.write(offset, chunk);
        offset += chunk.length;
        for (const wake of waiting) wake();
        waiting.clear();
      }
    };
    const stream: Stream = { done: copy().finally(() => (this.#stream = undefined)), waiting };
    stream.done.catch(() => undefined);
    this.#options.log.debug({ blob: this.name }, 'the server sends no ranges, streaming the blob');
    return stream;
  }

  /** What has been streamed is wrong. */
  async #endStream(parts: BlobParts): Promise<void> {
    await this.#stream?.done.catch(() => undefined);
    parts.clear();
  }

  /** The parts, opened once however many ask. */
  async #opened<T extends BlobParts | undefined>(open: () => Promise<T>): Promise<T | BlobParts> {
    if (this.#parts !== undefined) return this.#parts;
    const opening = (this.#opening ?? Promise.resolve()).then(async () => this.#parts ?? open());
    this.#opening = opening.catch(() => undefined);
    const parts = await opening;
    this.#parts = parts;
    return parts;
  }

  /** Where another process has the layer's, the parts are this one's alone, and go with it. */
  async #newParts(): Promise<BlobParts> {
    const { directory } = this.#options;
    const parts = await BlobParts.open(directory, this.size);
    if (parts !== undefined) return parts;
    const folder = await mkdtemp(join(directory, 'stream-'));
    try {
      const own = await BlobParts.open(folder, this.size);
      this.#isOwn = own !== undefined;
      if (own !== undefined) return own;
      throw new SiphonError('busy', `Cannot use "${folder}": it is locked, expected a new folder`);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  #readPart(part: ByteRange): Promise<Buffer> {
    if (this.#parts !== undefined) return this.#parts.read(part);
    // It was whole a moment ago.
    const { start, end } = part;
    return (this.#whole ?? this.#remote).read(start, end - start, this.#closing.signal);
  }

  /** What the disk does not take is not kept; reads go on. */
  async #keep(offset: number, bytes: Uint8Array): Promise<void> {
    const write = this.#write(offset, bytes);
    this.#writes.add(write);
    this.#unwritten += bytes.length;
    await write;
    this.#unwritten -= bytes.length;
    this.#writes.delete(write);
  }

  async #write(offset: number, bytes: Uint8Array): Promise<void> {
    const wasRefused = this.#refused;
    try {
      await this.#parts?.write(offset, bytes);
      this.#refused = false;
    } catch (error) {
      this.#refused = true;
      if (wasRefused) return;
      const about = { blob: this.name, reason: errorMessage(error) };
      this.#options.log.warn(about, 'parts of the blob are not kept');
    }
  }
}

/** Holes as one where what lies between them `isCheap`. */
function joined(holes: readonly ByteRange[], isCheap: (gap: ByteRange) => boolean): ByteRange[] {
  const result: ByteRange[] = [];
  for (const hole of holes) {
    const last = result.at(-1);
    const isJoined = last !== undefined && isCheap({ start: last.end, end: hole.start });
    if (isJoined) last.end = hole.end;
    else result.push({ ...hole });
  }
  return result;
}

function noRoom(name: string): SiphonError {
  return new SiphonError('no-space', `Cannot keep "${name}": expected room on the disk for it`);
}

function closed(name: string): SiphonError {
  return new SiphonError('cancelled', `Cannot read "${name}": the layer is closed`);
}

/**
 * A layer's blob as it is read from elsewhere, in parts that are kept: what has come, for a read or to have the
 * layer whole, is not asked for again, and the same byte is never on its way twice. Kept or not, bytes are as
 * unverified as those of the source; whoever rejects them asks `elsewhere`, and what comes from there takes their
 * place.
 *
 * Of a server that sends no ranges the blob is streamed whole, once, and reads wait until the stream is past
 * what they want.
 */

import type { BlobSource } from '../common/blob-source.js';
import type { Digest } from '../common/digest.js';
import { SiphonError, errorCode } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import { type ByteRange, RangeSet } from '../common/range-set.js';
import { untilAborted } from '../common/until-aborted.js';
import { Urgency } from '../common/urgency.js';
import type { ContentStore } from '../content/content-store.js';
import type { BlobParts } from './blob-parts.js';
import { BlobStream } from './blob-stream.js';
import type { KeptParts, SpareParts } from './cache-limit.js';
import { PartsKeeper } from './parts-keeper.js';
import { Transfer } from './transfer.js';

/** Bytes of one request that fills a hole: what a read that comes right after it has to wait for. */
const FILL_SIZE = 1 << 20;
/** Bytes of one request where the blob is wanted in order, and such requests at a time. */
const PIECE_SIZE = 2 << 20;
const PIECES = 4;
/** Most of the blob that is asked for although it is here, because that saves requests. */
const MAX_READ_TWICE = 0.04;

export interface LayerBlobOptions {
  remote: BlobSource;
  /** What is here of it; absent where nothing is to be kept. */
  parts: BlobParts | undefined;
  /** The layer's folder, for what a server without ranges sends. */
  directory: string;
  /** Is told of the bytes of each part that is kept. */
  onKept?: ((bytes: number) => void) | undefined;
  log: Logger;
}

export class LayerBlob implements BlobSource, KeptParts {
  readonly name: string;
  readonly size: number;
  readonly local = false;
  readonly #options: LayerBlobOptions;
  readonly #closing = new AbortController();
  readonly #transfers = new Set<Transfer>();
  readonly #parts: PartsKeeper;
  #remote: BlobSource;
  /** How many hosts were passed over for it. */
  #rejected = 0;
  #stream: BlobStream | undefined;
  /** The blob in the content store, once it is there. */
  #whole: BlobSource | undefined;
  /** Whether that is what was kept here. */
  #isMoved = false;
  /** Grows whenever what is here turns out to be wrong: what was asked for before is not kept then. */
  #drawn = 0;
  #readTwice = 0;

  constructor(options: LayerBlobOptions) {
    this.#options = options;
    const { remote, ...kept } = options;
    this.#remote = remote;
    this.name = remote.name;
    this.size = remote.size;
    this.#parts = new PartsKeeper({ name: this.name, size: this.size, ...kept });
  }

  get requestCost(): number {
    return this.#remote.requestCost ?? 0;
  }

  /** Bytes that are here. */
  get present(): number {
    return this.#whole === undefined ? this.#parts.present : this.size;
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
    yield* isInOne
      ? this.#streamRest(from, signal, urgency)
      : this.#streamPieces(from, signal, urgency);
  }

  async *#streamRest(
    from: number,
    signal: AbortSignal,
    urgency: Urgency,
  ): AsyncGenerator<Uint8Array> {
    let offset = from;
    const drawn = this.#drawn;
    for await (const chunk of this.#remote.stream(signal, from, urgency)) {
      if (drawn === this.#drawn) await this.#parts.keep(offset, chunk);
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
    return {
      name,
      size,
      local,
      read: async (offset, length, signal, urgency = new Urgency('waiting')) => {
        const range = { start: offset, end: offset + length };
        const bytes = await this.#fetch(range, { rejected, signal, urgency });
        await this.#parts.keep(offset, bytes);
        return bytes;
      },
      stream: (...args) => this.#streamAnew(rejected, args),
      close: () => Promise.resolve(),
    };
  }

  async *#streamAnew(
    rejected: number,
    args: Parameters<BlobSource['stream']>,
  ): AsyncGenerator<Uint8Array> {
    await this.drawAnew(rejected);
    yield* this.stream(...args);
  }

  /**
   * Fetches some of what is missing, from the start on, holes with little between them at once.
   * @returns `false` where nothing is missing any more, or nothing is kept
   * @throws as {@link read}; SiphonError `no-space`
   */
  async fill(signal: AbortSignal): Promise<boolean> {
    if (this.#whole !== undefined || !this.#parts.isOpen) return false;
    const [first, ...others] = this.#parts.missing({ start: 0, end: this.size });
    if (first === undefined) return false;
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
    if (this.#parts.refuses) throw noRoom(this.name);
    return true;
  }

  /** Resolves when all that has come is kept, or was not taken by the disk. */
  written(): Promise<void> {
    return this.#parts.written();
  }

  /**
   * Forgets all that is here, because it is wrong, and asks another host from now on, where there is one: what the
   * one before still sends is not waited for.
   */
  async drawAnew(rejected: number): Promise<void> {
    const stream = this.#stream;
    this.#drawn += 1;
    this.#rejected = rejected;
    this.#remote = this.#after(rejected);
    this.#transfers.clear();
    this.#stream = undefined;
    stream?.stop(new SiphonError('cancelled', `Cannot read "${this.name}": it is drawn anew`));
    await this.#parts.clear();
  }

  /** As {@link PartsKeeper.claim}. */
  claim(): Promise<boolean> {
    return this.#parts.claim();
  }

  /** Ends a {@link claim}. */
  release(): void {
    this.#parts.release();
  }

  get spareParts(): SpareParts | undefined {
    const isInUse = this.#transfers.size > 0 || this.#stream !== undefined;
    return this.#isMoved || isInUse ? undefined : this.#parts.spareParts;
  }

  get hiddenBytes(): number {
    return this.#parts.hiddenBytes;
  }

  dropParts(): void {
    this.#parts.drop();
  }

  /** As {@link PartsKeeper.seal}; what is drawn anew is not sealed any more. */
  seal(signal: AbortSignal): Promise<{ path: string; digest: Digest }> {
    return this.#parts.seal(signal);
  }

  /** Puts what was {@link seal}ed, and is right, into the content store, and reads it there from now on. */
  async moveInto(content: ContentStore, digest: Digest): Promise<void> {
    await this.#parts.moveInto(content, digest);
    this.#isMoved = true;
    this.moveTo(await content.source({ digest, size: this.size }));
  }

  /** The blob is at `source` from now on, which is closed with this; the registry is not needed any more. */
  moveTo(source: BlobSource): void {
    this.#whole = source;
  }

  async close(): Promise<void> {
    const because = closed(this.name);
    this.#closing.abort(because);
    this.#stream?.stop(because);
    await this.#stream?.done.catch(() => undefined);
    await this.#parts.close();
    await this.#options.remote.close();
    await this.#whole?.close();
  }

  /** What is here of a range, and the transfers that bring the rest, some of them under way already. */
  #cover(range: ByteRange, urgency: Urgency): { here: ByteRange[]; transfers: Transfer[] } {
    const missing = this.#parts.missing(range);
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
    if (known.length + holes.length > 0) this.#stream?.urgency.raise(urgency.class);
    const begun = joined(holes, (gap) => this.#readsTwice(gap)).map((hole) =>
      this.#transferOf(hole, urgency),
    );
    return { here: absent.missing(range), transfers: [...known, ...begun] };
  }

  /** Whether what is here between two holes is asked for with them: where that is cheaper, and for a small part of the blob in all. */
  #readsTwice(gap: ByteRange): boolean {
    const bytes = gap.end - gap.start;
    const isCheap = bytes <= this.requestCost && this.#parts.has(gap);
    if (!isCheap || this.#readTwice + bytes > this.size * MAX_READ_TWICE) return false;
    this.#readTwice += bytes;
    return true;
  }

  #transferOf(range: ByteRange, urgency: Urgency): Transfer {
    const drawn = this.#drawn;
    const transfer = new Transfer(range, urgency, async (stop) => {
      try {
        await this.#parts.keepsUp();
        const signal = AbortSignal.any([stop, this.#closing.signal]);
        const bytes = await this.#fetch(range, { rejected: this.#rejected, signal, urgency });
        // Whoever waits goes on; who comes before it is written is served of the same bytes.
        if (drawn === this.#drawn) void this.#parts.keep(range.start, bytes).finally(forget);
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

  /** From the host that is asked after so many were passed over, or from one that was since. */
  async #fetch(
    range: ByteRange,
    how: { rejected: number; signal: AbortSignal; urgency: Urgency },
  ): Promise<Buffer> {
    const { start, end } = range;
    const { rejected, signal, urgency } = how;
    const isRejected = (): boolean => this.#rejected < rejected;
    if (this.#stream !== undefined && isRejected()) await this.drawAnew(rejected);
    try {
      if (this.#stream === undefined) {
        const host = isRejected() ? this.#after(rejected) : this.#remote;
        return await host.read(start, end - start, signal, urgency);
      }
    } catch (error) {
      if (errorCode(error) !== 'unsupported') throw error;
    }
    if (isRejected()) await this.drawAnew(rejected);
    return this.#fromStream(range, signal, urgency);
  }

  /** The source when the first hosts were passed over. */
  #after(rejected: number): BlobSource {
    const { remote } = this.#options;
    return rejected === 0 ? remote : (remote.elsewhere?.(rejected) ?? remote);
  }

  async #fromStream(range: ByteRange, signal: AbortSignal, urgency: Urgency): Promise<Buffer> {
    await this.#parts.openSomewhere();
    for (;;) {
      if (this.#parts.has(range)) return this.#parts.read(range);
      const stream = (this.#stream ??= this.#begin(urgency));
      stream.urgency.raise(urgency.class);
      const drawn = this.#drawn;
      try {
        const bytes = await this.#takenFrom(stream, range, signal);
        if (bytes !== undefined) return bytes;
      } catch (error) {
        if (signal.aborted || drawn === this.#drawn) throw error;
      }
    }
  }

  /** `undefined` where the stream is past what was not kept; it is over then. */
  async #takenFrom(
    stream: BlobStream,
    { start, end }: ByteRange,
    signal: AbortSignal,
  ): Promise<Buffer | undefined> {
    const passed = (): ByteRange => ({ start, end: Math.min(stream.position, end) });
    const isHere = (): boolean => stream.position <= start || this.#parts.has(passed());
    for (let kept; !isHere() && kept !== stream.kept;) {
      kept = stream.kept;
      await untilAborted(kept, signal);
    }
    if (!isHere() || stream.isOver) {
      stream.giveWay();
      await untilAborted(stream.done, signal);
      return undefined;
    }
    const from = Math.max(start, passed().end);
    const rest = stream.want({ start: from, end }, signal);
    rest.catch(() => undefined); // seen below, if what is here can be read
    const here = from === start ? [] : [await this.#readPart({ start, end: from })];
    return Buffer.concat([...here, await rest]);
  }

  #begin(urgency: Urgency): BlobStream {
    const drawn = this.#drawn;
    const remote = this.#remote;
    const open = (stop: AbortSignal, of: Urgency): AsyncIterable<Uint8Array> => {
      const signal = AbortSignal.any([stop, this.#closing.signal]);
      return remote.stream(signal, 0, of);
    };
    const keep = async (start: number, piece: Uint8Array): Promise<boolean> => {
      if (drawn !== this.#drawn) return false;
      const isHere = this.#parts.has({ start, end: start + piece.byteLength });
      return isHere || this.#parts.keep(start, piece);
    };
    const stream = new BlobStream({ open, keep, urgency });
    const forget = (): void => {
      if (this.#stream === stream) this.#stream = undefined;
    };
    stream.done.then(forget, forget);
    this.#options.log.debug({ blob: this.name }, 'the server sends no ranges, streaming the blob');
    return stream;
  }

  #readPart(part: ByteRange): Promise<Buffer> {
    // It was whole a moment ago, or given up.
    const { start, end } = part;
    if (this.#parts.has(part)) return this.#parts.read(part);
    return (this.#whole ?? this.#remote).read(start, end - start, this.#closing.signal);
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

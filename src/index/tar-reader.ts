/**
 * A tar as it streams by: pieces of any size in, entries out, contents skipped. Holds one header block
 * and the payload of PAX and long-name headers, which is limited; nothing else is kept.
 */

import { SiphonError } from '../common/errors.js';
import { type PaxRecords, parsePaxRecords } from './pax.js';
import { type SparseMap, sparseMapOf, storedPieces } from './sparse.js';
import { type HeaderOverrides, NO_RECORDS, type TarEntry, tarEntry } from './tar-entry.js';
import { BLOCK_SIZE, type TarHeader, parseTarHeader, printable, untilNul } from './tar-header.js';

/** Called for each entry, with the tar offset of its content. */
export type EntryListener = (entry: TarEntry, dataOffset: number) => void;

/** Called with each piece of the last entry's content as it comes, valid during the call. */
export type ContentListener = (bytes: Buffer) => void;

/** Payload of a PAX or long-name header; more is an attack. Go's archive/tar has the same limit. */
const MAX_METADATA_SIZE = 1 << 20;

type MetadataType = 'x' | 'g' | 'L' | 'K';

type State =
  | { kind: 'header' }
  | {
      kind: 'metadata';
      type: MetadataType;
      header: TarHeader;
      payload: Buffer;
      filled: number;
      padding: number;
    }
  /** The map of a sparse file: whole blocks before its content. */
  | { kind: 'sparse map'; map: SparseMap; entry: TarEntry }
  | { kind: 'content'; left: number; padding: number; path: string }
  | { kind: 'end' };

export class TarReader {
  readonly #onEntry: EntryListener;
  readonly #onContent: ContentListener | undefined;
  /** Holds a block whose bytes come in pieces. */
  readonly #pieced = Buffer.alloc(BLOCK_SIZE);
  /** The present block, where it came whole, in the bytes that are being taken. */
  #block: Buffer = this.#pieced;
  #blockFilled = 0;
  /** Tar offset of the next byte to come. */
  #offset = 0;
  #state: State = { kind: 'header' };
  #overrides: HeaderOverrides = {};
  #sawZeroBlock = false;

  constructor(onEntry: EntryListener, onContent?: ContentListener) {
    this.#onEntry = onEntry;
    this.#onContent = onContent;
  }

  /**
   * Takes the next bytes; they are not kept.
   * @throws SiphonError `corrupt`, `unsupported`, `invalid`, or whatever the listener throws
   */
  push(bytes: Buffer): void {
    let at = 0;
    while (at < bytes.length) {
      const used = this.#take(bytes, at);
      at += used;
      this.#offset += used;
      this.#settle();
    }
  }

  /** How many of the next bytes say nothing of the tree: `Infinity` where the archive has ended. */
  get skippable(): number {
    const state = this.#state;
    if (state.kind === 'end') return Number.POSITIVE_INFINITY;
    return state.kind === 'content' ? state.left + state.padding : 0;
  }

  /** Takes the next bytes for pushed, at most those that are {@link skippable}. */
  pass(count: number): void {
    const state = this.#state;
    this.#offset += count;
    if (state.kind !== 'content') return;
    const content = Math.min(count, state.left);
    state.left -= content;
    state.padding -= count - content;
    this.#settle();
  }

  /** Says that no more comes. @throws SiphonError `corrupt` where the tar ends in the middle of something */
  finish(): void {
    const state = this.#state;
    const cut =
      (state.kind === 'header' && this.#blockFilled > 0 && 'a header') ||
      (state.kind === 'metadata' && state.filled < state.payload.length && 'an extended header') ||
      (state.kind === 'sparse map' && `the map of "${printable(state.entry.path)}"`) ||
      (state.kind === 'content' && state.left > 0 && `the content of "${printable(state.path)}"`);
    if (!cut) return;
    throw new SiphonError(
      'corrupt',
      `Cannot read tar: it ends at byte ${this.#offset} in the middle of ${cut}`,
    );
  }

  /** Consumes some of the bytes from `at` on; returns how many. */
  #take(bytes: Buffer, at: number): number {
    const state = this.#state;
    const available = bytes.length - at;
    switch (state.kind) {
      case 'header':
      case 'sparse map':
        return this.#takeBlock(bytes, at);
      case 'metadata': {
        const copied = bytes.copy(state.payload, state.filled, at);
        state.filled += copied;
        const skipped = Math.min(available - copied, state.padding);
        state.padding -= skipped;
        return copied + skipped;
      }
      case 'content': {
        const content = Math.min(available, state.left);
        const padding = Math.min(available - content, state.padding);
        if (content > 0) this.#onContent?.(bytes.subarray(at, at + content));
        state.left -= content;
        state.padding -= padding;
        return content + padding;
      }
      case 'end':
        return available;
    }
  }

  #takeBlock(bytes: Buffer, at: number): number {
    const wanted = BLOCK_SIZE - this.#blockFilled;
    const piece = bytes.subarray(at, at + wanted);
    const isWhole = piece.length === BLOCK_SIZE;
    if (!isWhole) this.#pieced.set(piece, this.#blockFilled);
    this.#block = isWhole ? piece : this.#pieced;
    this.#blockFilled += piece.length;
    return piece.length;
  }

  /** Moves on to the next state once the present one has all its bytes. */
  #settle(): void {
    const state = this.#state;
    if (state.kind === 'header' && this.#blockFilled === BLOCK_SIZE) {
      this.#blockFilled = 0;
      this.#onHeader(parseHeaderAt(this.#block, this.#offset - BLOCK_SIZE));
    } else if (state.kind === 'sparse map' && this.#blockFilled === BLOCK_SIZE) {
      this.#blockFilled = 0;
      inEntry(state.entry, () => state.map.take(this.#block));
      this.#onSparse(state.entry, state.map);
    } else if (
      state.kind === 'metadata' &&
      state.filled === state.payload.length &&
      state.padding === 0
    ) {
      this.#state = { kind: 'header' };
      this.#onMetadata(state.type, state.payload, state.header);
    } else if (state.kind === 'content' && state.left === 0 && state.padding === 0) {
      this.#state = { kind: 'header' };
    }
  }

  #onHeader(header: TarHeader | undefined): void {
    if (header === undefined) {
      // Two blocks of zeros end the archive; what follows is padding.
      if (this.#sawZeroBlock) this.#state = { kind: 'end' };
      this.#sawZeroBlock = true;
      return;
    }
    if (this.#sawZeroBlock) {
      throw new SiphonError(
        'corrupt',
        `Cannot read tar: a header follows one block of zeros at byte ${this.#offset - BLOCK_SIZE}, expected two or none`,
      );
    }
    switch (header.type) {
      case 'x':
      case 'g':
      case 'L':
      case 'K':
        this.#beginMetadata(header.type, header);
        break;
      default:
        this.#onEntryHeader(header);
    }
  }

  #beginMetadata(type: MetadataType, header: TarHeader): void {
    const { size } = header;
    if (size < 0 || size > MAX_METADATA_SIZE) {
      throw new SiphonError(
        'corrupt',
        `Cannot read tar: the extended header before byte ${this.#offset} has ${size} bytes, expected at most ${MAX_METADATA_SIZE}`,
      );
    }
    this.#state = {
      kind: 'metadata',
      type,
      header,
      payload: Buffer.allocUnsafe(size),
      filled: 0,
      padding: paddingOf(size),
    };
    this.#settle();
  }

  #onMetadata(type: MetadataType, payload: Buffer, header: TarHeader): void {
    switch (type) {
      case 'x':
        this.#overrides.pax = parsePaxRecords(payload);
        break;
      case 'g':
        this.#onGlobal(header, parsePaxRecords(payload));
        break;
      case 'L':
        this.#overrides.longName = untilNul(payload.toString('latin1'));
        break;
      case 'K':
        this.#overrides.longLink = untilNul(payload.toString('latin1'));
    }
  }

  /**
   * An entry like any other to Go's archive/tar: what came before it is said of it, not of the next one, and
   * of its own records the name counts.
   */
  #onGlobal(header: TarHeader, pax: PaxRecords): void {
    this.#overrides = {};
    const path = pax.get('path') ?? '';
    const pathRecord: PaxRecords = path === '' ? new Map() : new Map([['path', path]]);
    this.#onEntry(
      tarEntry({ ...header, uid: 0, gid: 0, size: 0 }, { pax: pathRecord }),
      this.#offset,
    );
  }

  #onEntryHeader(header: TarHeader): void {
    const { pax = NO_RECORDS } = this.#overrides;
    const entry = tarEntry(header, this.#overrides);
    this.#overrides = {};
    const map = inEntry(entry, () => sparseMapOf(this.#block, header, pax));
    if (map !== undefined && entry.type !== 'file' && entry.type !== 'unknown')
      throw new SiphonError(
        'corrupt',
        `Cannot read tar entry "${printable(entry.path.slice(0, 512))}": a ${entry.type} has the map of a sparse file, expected a file`,
      );
    if (map !== undefined) this.#onSparse(entry, map);
    else this.#emit(entry, entry.size);
  }

  /** Goes on once the map is complete. */
  #onSparse(entry: TarEntry, map: SparseMap): void {
    if (!map.complete) {
      this.#state = { kind: 'sparse map', map, entry };
      return;
    }
    const stored = entry.size - map.mapSize;
    const pieces = inEntry(entry, () => storedPieces(map, stored));
    this.#emit({ ...entry, size: map.size, pieces }, stored);
  }

  #emit(entry: TarEntry, stored: number): void {
    this.#skip(stored, entry.path);
    this.#onEntry(entry, this.#offset);
  }

  #skip(size: number, path: string): void {
    this.#state = { kind: 'content', left: size, padding: paddingOf(size), path };
    this.#settle();
  }
}

function parseHeaderAt(block: Buffer, offset: number): TarHeader | undefined {
  try {
    return parseTarHeader(block);
  } catch (error) {
    if (!(error instanceof SiphonError)) throw error;
    throw new SiphonError(error.code, `${error.message} (header at byte ${offset} of the tar)`, {
      cause: error,
    });
  }
}

/** Names the entry in whatever is wrong with its map. */
function inEntry<T>(entry: TarEntry, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof SiphonError)) throw error;
    const { code, message } = error;
    throw new SiphonError(code, `${message} (tar entry "${printable(entry.path.slice(0, 512))}")`, {
      cause: error,
    });
  }
}

/** Contents are padded to whole blocks. */
function paddingOf(size: number): number {
  return (BLOCK_SIZE - (size % BLOCK_SIZE)) % BLOCK_SIZE;
}

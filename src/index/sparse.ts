/**
 * Sparse files in tar: only the pieces that hold data are stored, one after another, and a map says where
 * in the file each belongs; all else is zeros. There are four ways to write the map down (GNU tar manual,
 * "Storing Sparse Files"):
 *
 * - old GNU, type `S`: in the header block, four pieces, and in extension blocks behind it;
 * - PAX 0.0: records `GNU.sparse.offset` and `GNU.sparse.numbytes`, again and again, in turns;
 * - PAX 0.1: one record `GNU.sparse.map`, a list with commas;
 * - PAX 1.0: in front of the stored pieces, decimal numbers of a line each, padded to a block.
 *
 * Pure: blocks in, pieces out.
 */

import { SiphonError } from '../common/errors.js';
import { SPARSE, type PaxRecords, parsePaxNumber, sparseVersion } from './pax.js';
import { BLOCK_SIZE, type TarHeader, parseTarNumber, printable } from './tar-header.js';

/** Bytes of a file that are stored. */
export interface StoredPiece {
  /** In the file. */
  offset: number;
  length: number;
}

/** The map of one file while it is being read. */
export interface SparseMap {
  /** Of the file, zeros included. */
  readonly size: number;
  /** Whether no further block is needed. */
  readonly complete: boolean;
  /** As far as they are known; some may be empty. */
  readonly pieces: readonly StoredPiece[];
  /** Bytes of blocks that were taken and are counted as the entry's content. */
  readonly mapSize: number;
  /** Takes the next block of the tar. @throws SiphonError `corrupt` */
  take(block: Buffer): void;
}

/** Blocks of one map: 1 MiB, as much as an extended header may have. */
const MAX_MAP_BLOCKS = (1 << 20) / BLOCK_SIZE;
/** Where the old header and its extension blocks keep pieces of twice twelve bytes. */
const OLD_HEADER = { pieces: 386, count: 4, isExtended: 482, size: 483 } as const;
const EXTENSION = { pieces: 0, count: 21, isExtended: 504 } as const;
const NUMBER_SIZE = 12;

/**
 * The map of the entry with this header; `undefined` where the file is not sparse, or of a version that
 * nobody has defined: containerd takes such a file as it is stored.
 * @throws SiphonError `corrupt`
 */
export function sparseMapOf(
  block: Buffer,
  header: TarHeader,
  pax: PaxRecords,
): SparseMap | undefined {
  if (header.type === 'S') return new OldMap(block);
  switch (sparseVersion(pax)) {
    case '1.0':
      return new LeadingMap(realSize(pax) ?? header.size);
    case '0.x':
      return recordedMap(pax, realSize(pax) ?? header.size);
    case undefined:
      return undefined;
  }
}

/**
 * The pieces of a complete map that hold anything.
 * @param stored bytes of content that the tar has of the file
 * @throws SiphonError `corrupt` where they overlap, leave the file or are not what is stored
 */
export function storedPieces(map: SparseMap, stored: number): StoredPiece[] {
  let end = 0;
  let sum = 0;
  for (const { offset, length } of map.pieces) {
    if (offset < end || length < 0 || offset + length > map.size)
      throw corrupt(`${length} bytes at ${offset} are out of place in ${map.size}`);
    end = offset + length;
    sum += length;
  }
  if (sum !== stored) throw corrupt(`its map has ${sum} bytes, the tar ${stored}`);
  return map.pieces.filter(({ length }) => length > 0);
}

/** In the header block and the extension blocks behind it, which the entry's size does not count. */
class OldMap implements SparseMap {
  readonly size: number;
  readonly mapSize = 0;
  readonly pieces: StoredPiece[] = [];
  complete: boolean;
  #blocks = 0;

  constructor(header: Buffer) {
    this.size = numberAt(header, OLD_HEADER.size);
    this.#add(header, OLD_HEADER);
    this.complete = header[OLD_HEADER.isExtended] === 0;
  }

  take(block: Buffer): void {
    if (++this.#blocks > MAX_MAP_BLOCKS) throw tooLong();
    this.#add(block, EXTENSION);
    this.complete = block[EXTENSION.isExtended] === 0;
  }

  #add(block: Buffer, at: typeof OLD_HEADER | typeof EXTENSION): void {
    for (let n = 0; n < at.count; n++) {
      const start = at.pieces + 2 * n * NUMBER_SIZE;
      if (block[start] === 0) return;
      const offset = numberAt(block, start);
      this.pieces.push({ offset, length: numberAt(block, start + NUMBER_SIZE) });
    }
  }
}

/** In front of the content: how many pieces there are, then the offset and the length of each. */
class LeadingMap implements SparseMap {
  readonly size: number;
  readonly pieces: StoredPiece[] = [];
  complete = false;
  mapSize = 0;
  #count: number | undefined;
  #offset: number | undefined;
  /** Digits of a number that goes on in the next block. */
  #rest = '';

  constructor(size: number) {
    this.size = size;
  }

  take(block: Buffer): void {
    this.mapSize += block.length;
    if (this.mapSize > MAX_MAP_BLOCKS * BLOCK_SIZE) throw tooLong();
    const lines = `${this.#rest}${block.toString('latin1')}`.split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) {
      this.#add(decimal(line));
      if (this.complete) return;
    }
    if (this.#rest.length >= BLOCK_SIZE) throw corrupt('a number of its map has no end');
  }

  #add(value: number): void {
    if (this.#count === undefined) {
      this.#count = value;
    } else if (this.#offset === undefined) {
      this.#offset = value;
    } else {
      this.pieces.push({ offset: this.#offset, length: value });
      this.#offset = undefined;
    }
    this.complete = this.pieces.length === this.#count;
  }
}

function recordedMap(pax: PaxRecords, size: number): SparseMap {
  const list = pax.get(SPARSE.map) ?? '';
  const numbers = list === '' ? [] : list.split(',').map(decimal);
  const count = decimal(pax.get(SPARSE.count) ?? '');
  if (numbers.length !== 2 * count)
    throw corrupt(`its map has ${numbers.length} numbers for ${count} pieces`);
  const pieces: StoredPiece[] = [];
  for (let i = 0; i < numbers.length; i += 2)
    pieces.push({ offset: numbers[i] ?? 0, length: numbers[i + 1] ?? 0 });
  return { size, complete: true, pieces, mapSize: 0, take: () => undefined };
}

function realSize(pax: PaxRecords): number | undefined {
  const value = pax.get(SPARSE.size) || pax.get(SPARSE.realSize) || undefined;
  return value === undefined ? undefined : decimal(value);
}

function decimal(text: string): number {
  const value = text.length > 20 ? undefined : parsePaxNumber(text);
  if (value !== undefined && isSize(value)) return value;
  throw corrupt(`its map has "${printable(text.slice(0, 32))}" in place of a number`);
}

function numberAt(block: Buffer, at: number): number {
  const value = parseTarNumber(block.subarray(at, at + NUMBER_SIZE));
  if (value !== undefined && isSize(value)) return value;
  throw corrupt(`byte ${at} of its header begins no number`);
}

function isSize(value: number): boolean {
  return value >= 0 && Number.isSafeInteger(value);
}

function tooLong(): SiphonError {
  return corrupt(`its map has more than ${MAX_MAP_BLOCKS * BLOCK_SIZE} bytes`);
}

function corrupt(why: string): SiphonError {
  return new SiphonError(
    'corrupt',
    `Cannot read sparse file: ${why}, expected pieces that follow one another within the file`,
  );
}

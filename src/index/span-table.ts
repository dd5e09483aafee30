/**
 * The checkpoints of an index, in memory: five numbers and a digest a span, about 80 bytes for each
 * 2 MiB of the tar. All bounds are checked here once, so that nothing reads outside the blob later.
 */

import type BetterSqlite3 from 'better-sqlite3';
import { SiphonError } from '../common/errors.js';
import type { Span } from './layer-model.js';
import { MAX_SPAN_SIZE } from './span-limits.js';

interface Layer {
  blobSize: number;
  tarSize: number;
  spanCount: number;
}

type Row = [
  number: number,
  tarOffset: number,
  blobOffset: number,
  blobLength: number,
  bits: number,
  digest: Buffer,
];

const DIGEST_SIZE = 32;

export class SpanTable {
  /** Where each span begins in the tar, and where the last one ends. */
  readonly bounds: Float64Array;
  readonly #blobOffsets: Float64Array;
  readonly #blobLengths: Float64Array;
  readonly #bits: Uint8Array;
  readonly #digests: Buffer;

  /** @throws SiphonError `corrupt` where the spans are not one after another within blob and tar */
  constructor(database: BetterSqlite3.Database, layer: Layer) {
    const count = checkCount(database, layer);
    this.bounds = new Float64Array(count + 1);
    this.#blobOffsets = new Float64Array(count);
    this.#blobLengths = new Float64Array(count);
    this.#bits = new Uint8Array(count);
    this.#digests = Buffer.alloc(count * DIGEST_SIZE);
    const rows = database.prepare(
      'SELECT number, tar_offset, blob_offset, blob_length, bits, digest FROM span ORDER BY number',
    );
    let expected = 0;
    for (const row of rows.raw().iterate() as IterableIterator<Row>)
      this.#add(row, expected++, layer);
    this.bounds[count] = layer.tarSize;
    this.#checkBounds();
  }

  get count(): number {
    return this.#bits.length;
  }

  /** The span that holds the byte at `tarOffset`, which must be in the tar. */
  at(tarOffset: number): number {
    let low = 0;
    let high = this.count - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if ((this.bounds[middle] ?? 0) <= tarOffset) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  span(number: number): Span {
    const tarOffset = this.bounds[number] ?? 0;
    return {
      number,
      tarOffset,
      tarLength: (this.bounds[number + 1] ?? 0) - tarOffset,
      blobOffset: this.#blobOffsets[number] ?? 0,
      blobLength: this.#blobLengths[number] ?? 0,
      bits: this.#bits[number] ?? 0,
      digest: this.#digests.subarray(number * DIGEST_SIZE, (number + 1) * DIGEST_SIZE),
    };
  }

  #add(
    [number, tarOffset, blobOffset, blobLength, bits, digest]: Row,
    expected: number,
    layer: Layer,
  ): void {
    const fits =
      number === expected &&
      isWithin(tarOffset, 0, layer.tarSize) &&
      isWithin(blobOffset, 0, layer.blobSize) &&
      isWithin(blobLength, 1, Math.min(MAX_SPAN_SIZE, layer.blobSize - blobOffset)) &&
      isWithin(bits, 0, 7) &&
      digest.length === DIGEST_SIZE;
    if (!fits) throw badSpan(expected, 'lies outside the layer');
    this.bounds[number] = tarOffset;
    this.#blobOffsets[number] = blobOffset;
    this.#blobLengths[number] = blobLength;
    this.#bits[number] = bits;
    digest.copy(this.#digests, number * DIGEST_SIZE);
  }

  #checkBounds(): void {
    if (this.bounds[0] !== 0) throw badSpan(0, 'does not begin at byte 0 of the tar');
    for (let i = 0; i < this.count; i++) {
      const length = (this.bounds[i + 1] ?? 0) - (this.bounds[i] ?? 0);
      if (!isWithin(length, 1, MAX_SPAN_SIZE)) throw badSpan(i, `has ${length} bytes`);
      if ((this.#blobOffsets[i + 1] ?? Number.POSITIVE_INFINITY) < (this.#blobOffsets[i] ?? 0)) {
        throw badSpan(i + 1, 'begins before the one before it');
      }
    }
  }
}

function checkCount(database: BetterSqlite3.Database, layer: Layer): number {
  const count = database.prepare('SELECT count(*) FROM span').pluck().get() as number;
  // No span is empty.
  if (count === layer.spanCount && (count > 0 || layer.tarSize === 0) && count <= layer.tarSize)
    return count;
  throw new SiphonError(
    'corrupt',
    `Cannot read index: it has ${count} spans, expected ${layer.spanCount}`,
  );
}

function isWithin(value: unknown, low: number, high: number): boolean {
  return Number.isSafeInteger(value) && (value as number) >= low && (value as number) <= high;
}

function badSpan(number: number, why: string): SiphonError {
  return new SiphonError(
    'corrupt',
    `Cannot read index: span ${number} ${why}, expected spans that follow one another within the layer`,
  );
}

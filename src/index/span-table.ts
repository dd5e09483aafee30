/**
 * The checkpoints of an index, in memory: six numbers and a digest a span, about 90 bytes for each
 * 1 MiB of the tar. All bounds are checked here once, so that nothing reads outside the blob later.
 */

import type BetterSqlite3 from 'better-sqlite3';
import { IndexDamage, bytesOf, integerOf } from './index-damage.js';
import type { Compression, DigestSubject, Span } from './layer-model.js';
import { MAX_GROUP_SIZE, MAX_SPAN_SIZE } from './span-limits.js';

interface Layer {
  compression: Compression;
  digestOf: DigestSubject;
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
  skip: number,
  digest: Buffer,
];

const DIGEST_SIZE = 32;

export class SpanTable {
  /** Where each span begins in the tar, and where the last one ends. */
  readonly bounds: Float64Array;
  readonly #blobOffsets: Float64Array;
  readonly #blobLengths: Float64Array;
  readonly #bits: Uint8Array;
  readonly #skips: Float64Array;
  readonly #digests: Buffer;

  /** @throws IndexDamage where the spans are not one after another within blob and tar */
  constructor(database: BetterSqlite3.Database, layer: Layer) {
    if (layer.digestOf === 'none' && layer.compression !== 'none')
      throw new IndexDamage(
        `the spans of a ${layer.compression} layer have no digests, expected one each`,
      );
    const count = checkCount(database, layer);
    this.bounds = new Float64Array(count + 1);
    this.#blobOffsets = new Float64Array(count);
    this.#blobLengths = new Float64Array(count);
    this.#bits = new Uint8Array(count);
    this.#skips = new Float64Array(count);
    this.#digests = Buffer.alloc(count * DIGEST_SIZE);
    const rows = database.prepare(
      'SELECT number, tar_offset, blob_offset, blob_length, bits, skip, digest FROM span ORDER BY number',
    );
    let expected = 0;
    for (const row of rows.raw().iterate() as IterableIterator<Row>)
      this.#add(row, expected++, layer);
    this.bounds[count] = layer.tarSize;
    for (let number = 0; number < count; number++) this.#check(number, layer);
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
      skip: this.#skips[number] ?? 0,
      digest: this.#digests.subarray(number * DIGEST_SIZE, (number + 1) * DIGEST_SIZE),
    };
  }

  /** Whether span `number` is decoded without anything before it, and without another. */
  hasOwnEntry(number: number): boolean {
    return (
      this.#skips[number] === 0 &&
      !this.#sharesEntry(number - 1, number) &&
      !this.#sharesEntry(number + 1, number)
    );
  }

  /** The first span with the entry point of span `number`. */
  groupStart(number: number): number {
    let first = number;
    while (this.#sharesEntry(first - 1, number)) first--;
    return first;
  }

  /** All spans with the entry point of span `number`. */
  group(number: number): Span[] {
    const spans: Span[] = [];
    for (let at = this.groupStart(number); this.#sharesEntry(at, number); at++)
      spans.push(this.span(at));
    return spans;
  }

  #sharesEntry(a: number, b: number): boolean {
    return this.#blobOffsets[a] === this.#blobOffsets[b] && this.#bits[a] === this.#bits[b];
  }

  #add(
    [number, tarOffset, blobOffset, blobLength, bits, skip, digest]: Row,
    expected: number,
    layer: Layer,
  ): void {
    const of = (what: string): string => `the ${what} of span ${expected}`;
    integerOf(`the number after span ${expected - 1}`, number, expected, expected);
    integerOf(of('tar_offset'), tarOffset, 0, layer.tarSize);
    integerOf(of('blob_offset'), blobOffset, 0, layer.blobSize);
    integerOf(of('blob_length'), blobLength, 1, layer.blobSize - blobOffset);
    integerOf(of('bits'), bits, 0, 7);
    integerOf(of('skip'), skip, 0, MAX_GROUP_SIZE);
    const digestSize = layer.digestOf === 'none' ? 0 : DIGEST_SIZE;
    bytesOf(of('digest'), digest, digestSize, digestSize);
    this.bounds[number] = tarOffset;
    this.#blobOffsets[number] = blobOffset;
    this.#blobLengths[number] = blobLength;
    this.#bits[number] = bits;
    this.#skips[number] = skip;
    digest.copy(this.#digests, number * DIGEST_SIZE);
  }

  #check(number: number, layer: Layer): void {
    const span = this.span(number);
    if (number === 0 && span.tarOffset !== 0)
      throw badSpan(0, 'does not begin at byte 0 of the tar');
    if (!isWithin(span.tarLength, 1, MAX_SPAN_SIZE))
      throw badSpan(number, `has ${span.tarLength} bytes`);
    if (span.blobOffset < (this.#blobOffsets[number - 1] ?? 0))
      throw badSpan(number, 'begins before the one before it');
    if (layer.compression !== 'gzip' && span.bits !== 0)
      throw badSpan(number, 'begins within a byte');
    this.#checkEntry(span, layer);
  }

  /** A span with an entry point of its own is taken into memory; those of a group stream by. */
  #checkEntry(span: Span, layer: Layer): void {
    const { number } = span;
    if (this.hasOwnEntry(number)) {
      if (span.blobLength > MAX_SPAN_SIZE) throw badSpan(number, `takes ${span.blobLength} bytes`);
      if (layer.compression === 'none' && span.blobLength !== span.tarLength)
        throw badSpan(number, 'has another length in the blob');
      return;
    }
    if (layer.compression === 'none' || layer.digestOf === 'blob')
      throw badSpan(number, 'has no entry point of its own');
    if (this.#sharesEntry(number - 1, number)) this.#checkFollows(this.span(number - 1), span);
  }

  #checkFollows(before: Span, span: Span): void {
    if (span.blobLength !== before.blobLength)
      throw badSpan(span.number, 'ends elsewhere in the blob than its group');
    if (span.skip < before.skip + before.tarLength)
      throw badSpan(span.number, 'begins before the end of the one before it');
  }
}

function checkCount(database: BetterSqlite3.Database, layer: Layer): number {
  const count = database.prepare('SELECT count(*) FROM span').pluck().get() as number;
  // No span is empty.
  if (count === layer.spanCount && (count > 0 || layer.tarSize === 0) && count <= layer.tarSize)
    return count;
  throw new IndexDamage(`it has ${count} spans, expected ${layer.spanCount}`);
}

function isWithin(value: number, low: number, high: number): boolean {
  return value >= low && value <= high;
}

function badSpan(number: number, why: string): IndexDamage {
  return new IndexDamage(
    `span ${number} ${why}, expected spans that follow one another within the layer`,
  );
}

/** Reads the bytes of spans from the blob, decodes them, checks them, and stores them in the cache. */

import type { BlobSource } from '../common/blob-source.js';
import { SiphonError, errorMessage } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import { passing } from '../common/spare-buffers.js';
import { untilRight } from '../common/until-right.js';
import type { Urgency } from '../common/urgency.js';
import type { PieceSource } from './decoder-model.js';
import { decodeSpans } from './decode-spans.js';
import type { LayerIndex, Span } from './layer-index.js';
import { cancelled } from './span-arrival.js';
import type { SpanCache } from './span-cache.js';
import { streamDecoder } from './stream-decoder.js';
import type { UnkeptSpan, UnkeptSpans } from './unkept-spans.js';

/** Bytes of the blob that a group's pass reads at a time. */
const GROUP_READ_SIZE = 4 << 20;
/** Such reads at a time: one comes while another is asked for, so that the link does not rest. */
const GROUP_READS = 2;

export interface SpanFetcherOptions {
  index: LayerIndex;
  cache: Pick<SpanCache, 'has' | 'write'>;
  /** Gets what the cache does not take. */
  unkept: Pick<UnkeptSpans, 'add' | 'kept'>;
  /** Called at the first need, and again if it failed. */
  open: () => Promise<BlobSource>;
  /** Is told of the bytes of each span that is written to the cache. */
  onStored?: ((bytes: number) => void) | undefined;
  log: Logger;
}

/** Is told when a span is in the cache, or in memory where that does not take it. */
type SpanListener = (span: Span) => void;

/** On whose behalf something is fetched. */
export interface FetchContext {
  signal: AbortSignal;
  urgency: Urgency;
}

/** Bytes of the blob. */
interface Range {
  offset: number;
  length: number;
}

interface Decoding {
  pieces: PieceSource;
  source: BlobSource;
  signal: AbortSignal;
  stored?: SpanListener;
}

export class SpanFetcher {
  readonly #options: SpanFetcherOptions;
  #source: Promise<BlobSource> | undefined;
  /** What the source says of itself, once it is open. */
  #opened: BlobSource | undefined;
  /** Bytes of the blob read so far. */
  fetchedBytes = 0;
  /** Spans verified so far. */
  fetchedSpans = 0;
  /** Bytes decoded so far, those included that were dropped on the way to a span. */
  decodedBytes = 0;

  constructor(options: SpanFetcherOptions) {
    this.#options = options;
  }

  /** Whether the bytes come from elsewhere, as far as is known. */
  get isRemote(): boolean {
    return this.#opened?.local === false;
  }

  /** Bytes that come in the time that one more read takes. */
  get requestCost(): number {
    return this.#opened?.requestCost ?? 0;
  }

  /**
   * Fetches spans with entry points of their own, in order, in one read of all from the first to the last.
   * @throws SiphonError `corrupt` where bytes are not what the index says, `cancelled`, and what the
   * source and the cache throw
   */
  async fetchRun(spans: readonly Span[], context: FetchContext): Promise<void> {
    await this.#untilRight(spans, (missing, source) => this.#fetchRun(missing, source, context));
  }

  async #fetchRun(
    spans: readonly Span[],
    source: BlobSource,
    context: FetchContext,
  ): Promise<void> {
    const [first, last] = [spans[0], spans.at(-1)];
    if (first === undefined || last === undefined) return;
    const { blobOffset } = first;
    const { signal } = context;
    const range = { offset: blobOffset, length: endOf(last) - blobOffset };
    await this.#withBytes(source, range, context, async (bytes) => {
      for (const span of spans) {
        if (signal.aborted) throw cancelled('nobody waits for it');
        const start = span.blobOffset - blobOffset;
        await this.#take(span, bytes.subarray(start, start + span.blobLength), { source, signal });
      }
    });
  }

  /** Reads, where the source can into memory that is taken back when `use` is done. */
  async #withBytes(
    source: BlobSource,
    { offset, length }: Range,
    context: FetchContext,
    use: (bytes: Buffer) => Promise<void>,
  ): Promise<void> {
    if (source.readInto === undefined)
      return use(await this.#read(source, offset, length, context));
    const bytes = passing.take(length);
    try {
      await source.readInto(offset, bytes, context.signal);
      this.fetchedBytes += length;
      await use(bytes);
    } finally {
      passing.giveBack(bytes);
    }
  }

  /**
   * Decodes spans of one group, in order, in one pass and in flat memory. Errors as {@link fetchRun}.
   */
  async fetchGroup(
    spans: readonly Span[],
    context: FetchContext,
    stored: SpanListener,
  ): Promise<void> {
    await this.#untilRight(spans, async (missing, source) => {
      const [first] = missing;
      if (first === undefined) return;
      const pieces = this.#piecesOf(first, source, context);
      await this.#decode(first, missing, { pieces, source, signal: context.signal, stored });
    });
  }

  /** Does `fetch`, and once more for what is missing, from elsewhere, where bytes came that are wrong. */
  async #untilRight(
    spans: readonly Span[],
    fetch: (missing: readonly Span[], source: BlobSource) => Promise<void>,
  ): Promise<void> {
    const { cache, log } = this.#options;
    const isMissing = ({ number }: Span): boolean => !cache.has(number);
    await untilRight(
      await this.#openSource(),
      (source, rejected) => fetch(rejected === 0 ? spans : spans.filter(isMissing), source),
      (error) => log.warn({ reason: errorMessage(error) }, 'wrong bytes, asked for once more'),
    );
  }

  /** Stores what is verified; where the disk does not take it, it serves from memory who waits for it. */
  async keep(span: UnkeptSpan): Promise<void> {
    const { index, cache, unkept } = this.#options;
    const { blobDigest } = index.info;
    try {
      await cache.write(span.number, span.tarOffset, span.bytes);
      unkept.kept(blobDigest, span.number);
    } catch (error) {
      unkept.add(blobDigest, { ...span, bytes: Buffer.from(span.bytes) }, error);
    }
  }

  async close(): Promise<void> {
    const source = await this.#source?.catch(() => undefined);
    await source?.close();
  }

  async #take(
    span: Span,
    packed: Buffer,
    { source, signal }: { source: BlobSource; signal: AbortSignal },
  ): Promise<void> {
    const { compression, digestOf } = this.#options.index.info;
    if (digestOf === 'blob') await verify(span, packed, () => this.#mismatch(span, source));
    if (compression === 'none') await this.#store(span, packed, source);
    else await this.#decode(span, [span], { pieces: once(packed), source, signal });
  }

  async #decode(
    first: Span,
    spans: readonly Span[],
    { pieces, source, signal, stored }: Decoding,
  ): Promise<void> {
    const { index } = this.#options;
    const { compression } = index.info;
    // An index says nothing of groups where nothing is compressed.
    if (compression === 'none') return;
    const entry = { bits: first.bits, window: index.window(first.number) };
    using decoder = streamDecoder(compression, pieces, entry);
    const damaged = (span: Span, cause: unknown) => this.#mismatch(span, source, cause);
    const checkWanted = () => {
      if (signal.aborted) throw cancelled('nobody waits for it');
    };
    const decoding = decodeSpans(spans, decoder, { damaged, checkWanted });
    for await (const { span, plain, decoded } of decoding) {
      this.decodedBytes += decoded;
      await this.#store(span, plain, source);
      stored?.(span);
    }
  }

  async #store(span: Span, plain: Buffer, source: BlobSource): Promise<void> {
    const { index, onStored, log } = this.#options;
    if (index.info.digestOf === 'tar')
      await verify(span, plain, () => this.#mismatch(span, source));
    await this.keep({ number: span.number, tarOffset: span.tarOffset, bytes: plain });
    this.fetchedSpans += 1;
    onStored?.(plain.length);
    log.trace({ span: span.number, bytes: plain.length }, 'span fetched');
  }

  /** The bytes of a group, read ahead of what is taken. */
  #piecesOf(group: Span, source: BlobSource, context: FetchContext): PieceSource {
    let at = group.blobOffset;
    const read = (): Promise<Buffer | undefined> => {
      const length = Math.min(GROUP_READ_SIZE, endOf(group) - at);
      if (length === 0) return Promise.resolve(undefined);
      at += length;
      const piece = this.#read(source, at - length, length, context);
      // Seen when it is asked for, which may be never.
      piece.catch(() => undefined);
      return piece;
    };
    const ahead = Array.from({ length: GROUP_READS }, read);
    return async () => {
      const piece = await ahead.shift();
      ahead.push(read());
      return piece;
    };
  }

  async #read(
    source: BlobSource,
    offset: number,
    length: number,
    { signal, urgency }: FetchContext,
  ): Promise<Buffer> {
    const bytes = await source.read(offset, length, signal, urgency);
    this.fetchedBytes += bytes.length;
    return bytes;
  }

  #mismatch(span: Span, source: BlobSource, cause?: unknown): SiphonError {
    const { blobDigest } = this.#options.index.info;
    return new SiphonError(
      'corrupt',
      `Cannot read span ${span.number} of layer "${blobDigest}": the bytes from ${source.name} are not those of the index, expected sha256:${span.digest.toString('hex')}`,
      { cause },
    );
  }

  async #openSource(): Promise<BlobSource> {
    this.#source ??= this.#options.open();
    try {
      return (this.#opened = await this.#source);
    } catch (error) {
      this.#source = undefined;
      throw error;
    }
  }
}

async function verify(span: Span, bytes: Buffer, mismatch: () => SiphonError): Promise<void> {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  if (span.digest.compare(digest) !== 0) throw mismatch();
}

function once(piece: Buffer): PieceSource {
  const pieces = [piece];
  return () => Promise.resolve(pieces.pop());
}

export function endOf(span: Span): number {
  return span.blobOffset + span.blobLength;
}

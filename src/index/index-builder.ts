/**
 * Builds an index in the calling thread: blob bytes in, index file out, in one pass and in flat memory.
 * {@link buildIndex} runs one in a worker.
 */

import { rmSync } from 'node:fs';
import { type DiffId, digestFromHash } from '../common/digest.js';
import { SiphonError } from '../common/errors.js';
import { SIGNATURE_SIZE, detectCompression } from './compression.js';
import {
  type DecoderListener,
  type DecoderOptions,
  OUTPUT_SIZE,
  type SpanDecoder,
} from './decoder-model.js';
import { IndexWriter, type LayerFacts } from './index-writer.js';
import { type LayerDigests, RunningDigests } from './layer-digests.js';
import type { Compression, LayerInfo } from './layer-model.js';
import { type ExpectedLayer, checkExpected } from './expected-layer.js';
import { spanDecoder } from './span-decoder.js';
import { DEFAULT_SPAN_SIZE, checkInflated } from './span-limits.js';
import { SpanRecorder, type UnhashedSpan } from './span-recorder.js';
import { TarReader } from './tar-reader.js';
import { BlobEnd } from './toc/unused-toc.js';
import { TreeBuilder } from './tree-builder.js';

const MIN_SPAN_SIZE = 64 << 10;
const MAX_SPAN_SIZE_OPTION = 16 << 20;

/** Makes what decodes a layer, and tells `listener` of it. */
export type DecoderFactory = (
  compression: Compression,
  listener: DecoderListener,
  options: Omit<DecoderOptions, 'nextOutput'>,
) => SpanDecoder;

export interface IndexBuilderOptions {
  /** File to create; on failure the caller calls {@link IndexBuilder.abort}. */
  path: string;
  spanSize?: number | undefined;
  expected?: ExpectedLayer | undefined;
  /** By default it decodes in the calling thread. */
  decoder?: DecoderFactory;
  /** Why a table of contents that the layer has was not used. */
  because?: string | undefined;
  /** Bytes of memory that the tree may take before it goes to a file, about. */
  treeMemory?: number | undefined;
  /** Is called at each piece of the tar, and throws to end the work. */
  checkWanted?: () => void;
}

export class IndexBuilder {
  readonly #path: string;
  readonly #stagingPath: string;
  readonly #spanSize: number;
  readonly #expected: ExpectedLayer;
  readonly #because: string | undefined;
  readonly #writer: IndexWriter;
  readonly #tar: TarReader;
  readonly #tree: TreeBuilder;
  readonly #recorder: SpanRecorder;
  readonly #digests = new RunningDigests();
  readonly #makeDecoder: DecoderFactory;
  #blobSize = 0;
  readonly #end = new BlobEnd();
  #head: Buffer = Buffer.alloc(0);
  #decoder: { compression: Compression; spans: SpanDecoder } | undefined;

  /** @throws SiphonError `usage` where the span size is out of bounds */
  constructor(options: IndexBuilderOptions) {
    this.#path = options.path;
    this.#stagingPath = `${options.path}.staging`;
    this.#spanSize = checkSpanSize(options.spanSize ?? DEFAULT_SPAN_SIZE);
    this.#expected = options.expected ?? {};
    this.#makeDecoder = options.decoder ?? decodeHere;
    this.#because = options.because;
    this.#writer = new IndexWriter(this.#path, this.#stagingPath, options.treeMemory);
    this.#tree = new TreeBuilder(this.#writer.tree);
    this.#tar = new TarReader((entry, dataOffset) => this.#tree.add(entry, dataOffset));
    const { checkWanted } = options;
    this.#recorder = new SpanRecorder(
      this.#digests,
      (span, window) => this.#writer.addWindow(span, window),
      (bytes) => {
        checkWanted?.();
        checkInflated(this.#recorder.tarSize, {
          read: this.#blobSize,
          whole: this.#expected.blobSize,
        });
        this.#tar.push(bytes);
      },
    );
  }

  /** Takes the next bytes of the blob; for how long they must not change, {@link SpanDecoder.push} says. */
  push(bytes: Buffer): void {
    this.#digests.updateBlob(bytes);
    this.#blobSize += bytes.length;
    this.#end.push(bytes);
    checkExpectedLength(this.#blobSize, this.#expected);
    if (this.#decoder !== undefined) {
      this.#decoder.spans.push(bytes);
      return;
    }
    this.#head = this.#head.length === 0 ? bytes : Buffer.concat([this.#head, bytes]);
    if (this.#head.length >= SIGNATURE_SIZE) this.#startDecoding().push(this.#head);
  }

  /**
   * Says that the blob is complete, checks what is expected of it, and completes the file.
   * @throws SiphonError `corrupt` where blob or tar are cut, or differ from what is expected
   */
  finish(): LayerInfo {
    if (this.#decoder === undefined) this.#startDecoding().push(this.#head);
    const decoder = this.#decoder;
    if (decoder === undefined) throw new Error('No decoder was started');
    const spans = this.#recorder.finish(this.#finishDecoding(decoder.spans));
    const digests = this.#digests.finish();
    const facts: LayerFacts = {
      compression: decoder.compression,
      format: 'siphon',
      formatReason: reasonOf(this.#because ?? this.#end.unusedToc(this.#blobSize)),
      digestOf: 'tar',
      blobDigest: digestFromHash(digests.blob),
      blobSize: this.#blobSize,
      diffId: digestFromHash(digests.tar) as DiffId,
      tarSize: this.#recorder.tarSize,
      spanSize: this.#spanSize,
      spanCount: spans.length,
      hasRootEntry: this.#tree.hasRootEntry,
      prefetchEnd: 0,
    };
    checkExpected(facts, this.#expected);
    this.#recorder[Symbol.dispose]();
    this.#writeSpans(spans, digests);
    const info = this.#writer.finish(facts);
    rmSync(this.#stagingPath, { force: true });
    return info;
  }

  /** Removes what is there so far. */
  abort(): void {
    this.#decoder?.spans.close();
    this.#recorder[Symbol.dispose]();
    this.#writer.close();
    rmSync(this.#stagingPath, { force: true });
    rmSync(this.#path, { force: true });
  }

  #writeSpans(spans: readonly UnhashedSpan[], digests: LayerDigests): void {
    for (const span of spans) {
      const digest = digests.spans[span.number];
      if (digest === undefined) throw new Error(`Span ${span.number} was not hashed`);
      this.#writer.addSpan({ ...span, digest }, undefined);
    }
  }

  /** A blob that is shorter than it should be is said to be so, rather than where its tar was cut. */
  #finishDecoding(spans: SpanDecoder): number {
    const expected = this.#expected.blobSize;
    if (expected !== undefined && this.#blobSize !== expected)
      throw wrongLength(this.#blobSize, expected);
    const end = spans.finish();
    spans.close();
    this.#tar.finish();
    return end;
  }

  #startDecoding(): SpanDecoder {
    const compression = detectCompression(this.#head);
    const { blobDigest, diffId } = this.#expected;
    const spans = this.#makeDecoder(compression, this.#recorder, {
      spanSize: this.#spanSize,
      // What both digests agree on needs no weaker sum.
      checksums: blobDigest === undefined || diffId === undefined,
    });
    if (spans.digests !== undefined) this.#digests.computeTarBy(spans.digests);
    this.#decoder = { compression, spans };
    return spans;
  }
}

/** Decodes in the calling thread. */
export const decodeHere: DecoderFactory = (compression, listener, options) => {
  const output = Buffer.allocUnsafeSlow(OUTPUT_SIZE);
  return spanDecoder(compression, listener, { ...options, nextOutput: () => output });
};

function reasonOf(because: string | undefined): string {
  return `indexed from its own bytes${because === undefined ? '' : ` (${because})`}`;
}

function checkSpanSize(size: number): number {
  if (Number.isInteger(size) && size >= MIN_SPAN_SIZE && size <= MAX_SPAN_SIZE_OPTION) return size;
  throw new SiphonError(
    'usage',
    `Cannot index with span size ${size}: expected ${MIN_SPAN_SIZE} to ${MAX_SPAN_SIZE_OPTION} bytes`,
  );
}

function checkExpectedLength(soFar: number, expected: ExpectedLayer): void {
  if (expected.blobSize !== undefined && soFar > expected.blobSize)
    throw wrongLength(soFar, expected.blobSize);
}

function wrongLength(size: number, expected: number): SiphonError {
  const verdict = size > expected ? `${size} bytes or more` : `${size} bytes`;
  return new SiphonError('corrupt', `Cannot index layer: it has ${verdict}, expected ${expected}`);
}

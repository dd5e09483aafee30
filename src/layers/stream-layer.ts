/**
 * One pass over a layer's blob: it is checked, indexed, and kept compressed in the content store, so that reads
 * are served from this disk afterwards. A file of the local file system is not kept twice. A pass that was
 * cut off is gone on with: what it had brought is read here, the rest is fetched.
 */

import { rm } from 'node:fs/promises';
import type { BlobSource } from '../common/blob-source.js';
import { Channel } from '../common/channel.js';
import type { DiffId } from '../common/digest.js';
import { errorCode, errorMessage } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import { untilRight } from '../common/until-right.js';
import type { Urgency } from '../common/urgency.js';
import type { ContentStore } from '../content/content-store.js';
import { streamAndClose } from '../content/stream-blob.js';
import { type BlockReader, blockReader } from '../index/block-reader.js';
import { buildIndex } from '../index/build-index.js';
import { type LayerRecord, indexExpectation } from './layer-store.js';

export interface StreamOptions {
  record: LayerRecord;
  /** What the layer's image says of its tar, where it says anything. */
  diffId: DiffId | undefined;
  /** The index file; appears whole or not at all. */
  output: string;
  /** Where the blob is kept; `undefined`: nowhere. */
  content: ContentStore | undefined;
  /** Why a cheaper way was not taken. */
  because?: string | undefined;
  /** Is told how many bytes have arrived. */
  onBytes: (done: number) => void;
  signal: AbortSignal;
  /** How much somebody wants it; default: it is waited for. */
  urgency?: Urgency;
  log?: Logger;
}

/**
 * Where the bytes are wrong, another host is asked, if there is one.
 * @throws SiphonError as buildIndex and the content store; where what arrived may be right, it is left for
 * the next pass, and nothing else is
 */
export async function streamLayer(source: BlobSource, options: StreamOptions): Promise<void> {
  await untilRight(
    source,
    (from) => streamOnce(from, options),
    (error) => {
      const about = { layer: options.record.blobDigest, reason: errorMessage(error) };
      options.log?.info(about, 'layer came wrong, drawn once more');
    },
  );
}

async function streamOnce(source: BlobSource, options: StreamOptions): Promise<void> {
  const { content, onBytes, signal } = options;
  if (source.local || content === undefined)
    await index(blockReader(source, signal, onBytes) ?? counted(source, options), options);
  else await keepAndIndex(source, { ...options, content });
}

type KeepOptions = StreamOptions & { content: ContentStore };
type Take = (piece: Uint8Array) => Promise<void>;

/** Failures that a layer's bytes bring about: none of them is gone on with. */
const FAULTS: readonly unknown[] = ['corrupt', 'invalid', 'unsupported'];

async function keepAndIndex(source: BlobSource, options: KeepOptions): Promise<void> {
  const { content, record } = options;
  for (;;) {
    const left = await content.ingestStatus(record.blobDigest);
    try {
      await pass(source, options);
      return;
    } catch (error) {
      if (!FAULTS.includes(errorCode(error))) throw error;
      await content.forgetIngest(record.blobDigest);
      // What was here may be all that was wrong: a power cut can damage it.
      if (left === undefined || left.offset === 0) throw error;
    }
  }
}

/** Each piece is written to the content store, then handed to the indexer. */
async function pass(source: BlobSource, options: KeepOptions): Promise<void> {
  const channel = new Channel<Uint8Array>();
  const failed = new AbortController();
  const signal = AbortSignal.any([options.signal, failed.signal]);
  const fail = (error: unknown): never => {
    channel.end(error instanceof Error ? error : new Error(errorMessage(error)));
    failed.abort(error);
    throw error;
  };
  let done = 0;
  options.onBytes(done);
  const take = async (piece: Uint8Array): Promise<void> => {
    done += piece.byteLength;
    options.onBytes(done);
    await channel.send(piece);
  };
  const kept = keep(source, take, { ...options, signal }).then(() => channel.end(), fail);
  const indexed = index(channel, { ...options, signal }).catch(fail);
  const outcomes = await Promise.allSettled([kept, indexed]);
  if (outcomes.every((outcome) => outcome.status === 'fulfilled')) return;
  await rm(options.output, { force: true });
  throw failed.signal.reason;
}

async function keep(
  source: BlobSource,
  take: Take,
  { record, content, signal, urgency }: KeepOptions,
): Promise<void> {
  const { identity, blobDigest: digest, blobSize: size } = record;
  const how = { signal, onBytes: take };
  if (identity === 'location') {
    await content.add(source.stream(signal), how);
    return;
  }
  const blob = { digest, size };
  if (await content.ingest(blob, (from) => source.stream(signal, from, urgency), how)) return;
  // Another process has brought it meanwhile.
  const stored = streamAndClose(await content.source(blob), signal);
  for await (const piece of stored) await take(piece);
}

async function index(
  input: AsyncIterable<Uint8Array> | BlockReader,
  { record, diffId, output, because, signal }: StreamOptions,
): Promise<void> {
  const expected = indexExpectation(record, diffId);
  await buildIndex(input, { output, expected, because, signal });
}

async function* counted(
  source: BlobSource,
  { onBytes, signal, urgency }: StreamOptions,
): AsyncGenerator<Uint8Array> {
  let done = 0;
  onBytes(done);
  for await (const chunk of source.stream(signal, 0, urgency)) {
    done += chunk.byteLength;
    onBytes(done);
    yield chunk;
  }
}

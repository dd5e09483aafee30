/**
 * One pass over a layer's blob: it is checked, indexed, and kept compressed in the content store, so that reads
 * are served from this disk afterwards. A file of the local file system is not kept twice.
 */

import { rm } from 'node:fs/promises';
import type { BlobSource } from '../common/blob-source.js';
import { Channel } from '../common/channel.js';
import type { DiffId } from '../common/digest.js';
import { errorMessage } from '../common/errors.js';
import type { ContentStore } from '../content/content-store.js';
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
}

/** @throws SiphonError as buildIndex and the content store; nothing is left then */
export async function streamLayer(source: BlobSource, options: StreamOptions): Promise<void> {
  const { content } = options;
  if (source.local || content === undefined) await index(counted(source, options), options);
  else await keepAndIndex(source, { ...options, content });
}

type KeepOptions = StreamOptions & { content: ContentStore };

/** Each piece is written to the content store, then handed to the indexer. */
async function keepAndIndex(source: BlobSource, options: KeepOptions): Promise<void> {
  const channel = new Channel<Uint8Array>();
  const failed = new AbortController();
  const signal = AbortSignal.any([options.signal, failed.signal]);
  const fail = (error: unknown): never => {
    channel.end(error instanceof Error ? error : new Error(errorMessage(error)));
    failed.abort(error);
    throw error;
  };
  const bytes = passOn(counted(source, options), channel);
  const kept = keep(bytes, { ...options, signal }).then(() => channel.end(), fail);
  const indexed = index(channel, { ...options, signal }).catch(fail);
  const outcomes = await Promise.allSettled([kept, indexed]);
  if (outcomes.every((outcome) => outcome.status === 'fulfilled')) return;
  await rm(options.output, { force: true });
  throw failed.signal.reason;
}

async function keep(
  bytes: AsyncIterable<Uint8Array>,
  { record, content, signal }: KeepOptions,
): Promise<void> {
  const { identity, blobDigest: digest, blobSize: size } = record;
  if (identity === 'location') await content.add(bytes, signal);
  else await content.ingest({ digest, size }, bytes, { signal });
}

async function index(
  input: AsyncIterable<Uint8Array>,
  { record, diffId, output, because, signal }: StreamOptions,
): Promise<void> {
  const expected = indexExpectation(record, diffId);
  await buildIndex(input, { output, expected, because, signal });
}

async function* counted(
  source: BlobSource,
  { onBytes, signal }: StreamOptions,
): AsyncGenerator<Uint8Array> {
  let done = 0;
  onBytes(done);
  for await (const chunk of source.stream(signal)) {
    done += chunk.byteLength;
    onBytes(done);
    yield chunk;
  }
}

/** Yields each piece to the one that stores it; once that is done with it, the channel gets it. */
async function* passOn(
  bytes: AsyncIterable<Uint8Array>,
  channel: Channel<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of bytes) {
    yield chunk;
    await channel.send(chunk);
  }
}

/**
 * Blobs into containerd's content store. An ingest is named as containerd's own clients name it, so
 * that two pulls of one blob do not fetch it twice: the later waits until the first is done or has gone.
 */

import type { ClientDuplexStream } from '@grpc/grpc-js';
import { setTimeout as delay } from 'node:timers/promises';
import type { ProgressListener } from '../common/blob-source.js';
import { errorCode } from '../common/errors.js';
import {
  WriteAction,
  type WriteContentRequest,
  type WriteContentResponse,
} from '../generated/containerd/services/content/v1/content.js';
import type { Descriptor } from '../remote/descriptor.js';
import { type CallContext, type Connection, longCall } from './connection.js';
import { type Labels, mergeLabels } from './gc-labels.js';

export interface BlobToWrite {
  kind: 'index' | 'manifest' | 'config' | 'layer';
  descriptor: Descriptor;
  labels: Labels;
  /** The blob's bytes from an offset on; called once, and only where something is missing. */
  read(offset: number): AsyncIterable<Uint8Array>;
  signal: AbortSignal;
  onProgress?: ProgressListener;
}

/** Bytes to a message: each is answered before the next. */
const PIECE = 1024 * 1024;
/** How often to look whether another client's ingest of the same blob has ended, in milliseconds. */
const LOCK_POLL = 200;

/**
 * Stores a blob, which containerd compares with its digest, and sets its labels also where it is there.
 * @returns whether it was there already
 * @throws SiphonError `failed-precondition` (other bytes), `no-space`, …; what `read` throws
 */
export async function writeBlob(connection: Connection, blob: BlobToWrite): Promise<boolean> {
  for (const deadline = Date.now() + longCall; ; await delay(LOCK_POLL)) {
    try {
      await ingest(connection, blob);
      return false;
    } catch (error) {
      if (errorCode(error) === 'already-exists') break;
      if (!isLocked(error) || Date.now() > deadline) throw error;
    }
  }
  await labelBlob(connection, blob);
  return true;
}

/** Adds labels to a blob that is there. @throws SiphonError `not-found` */
export async function labelBlob(
  connection: Connection,
  { descriptor: { digest }, labels, signal }: Pick<BlobToWrite, 'descriptor' | 'labels' | 'signal'>,
): Promise<void> {
  const context = { purpose: `label blob "${digest}"`, signal };
  const known = await connection.call<{ info?: { labels: Labels } | undefined }>(
    context,
    (metadata, options, done) => connection.content.info({ digest }, metadata, options, done),
  );
  const merged = mergeLabels(known.info?.labels ?? {}, labels);
  const info = { digest, size: 0n, createdAt: undefined, updatedAt: undefined, labels: merged };
  const updateMask = Object.keys(merged).map((key) => `labels.${key}`);
  await connection.call(context, (metadata, options, done) =>
    connection.content.update({ info, updateMask }, metadata, options, done),
  );
}

async function ingest(connection: Connection, blob: BlobToWrite): Promise<void> {
  const { descriptor, labels, signal, onProgress } = blob;
  const { digest, size } = descriptor;
  const stream = new Exchange(connection, { purpose: `store blob "${digest}"`, signal });
  try {
    const expected = { ref: `${blob.kind}-${digest}`, total: BigInt(size), expected: digest };
    let { offset } = await stream.ask({ ...expected, action: WriteAction.STAT });
    if (offset < size) {
      for await (const data of inPieces(blob.read(Number(offset)))) {
        onProgress?.(Number(offset), size);
        ({ offset } = await stream.ask({ action: WriteAction.WRITE, offset, data }));
      }
    }
    onProgress?.(Number(offset), size);
    await stream.ask({ ...expected, action: WriteAction.COMMIT, offset, labels });
  } finally {
    stream.end();
  }
}

/** One call of Write: a request, its answer, the next request. */
class Exchange {
  readonly #connection: Connection;
  readonly #context: CallContext & { signal: AbortSignal };
  readonly #call: ClientDuplexStream<WriteContentRequest, WriteContentResponse>;
  readonly #answers: AsyncIterator<WriteContentResponse>;
  readonly #cancel = (): void => this.#call.cancel();

  constructor(connection: Connection, context: CallContext & { signal: AbortSignal }) {
    if (context.signal.aborted) throw connection.failure(undefined, context);
    this.#connection = connection;
    this.#context = context;
    const deadline = Date.now() + longCall;
    this.#call = connection.content.write(connection.metadata, { deadline });
    // Failures are told to whoever waits for an answer.
    this.#call.on('error', () => {});
    this.#answers = (this.#call as AsyncIterable<WriteContentResponse>)[Symbol.asyncIterator]();
    context.signal.addEventListener('abort', this.#cancel, { once: true });
  }

  async ask(request: Partial<WriteContentRequest>): Promise<WriteContentResponse> {
    try {
      this.#call.write({ ...emptyRequest, ...request });
      const answer: IteratorResult<WriteContentResponse, unknown> = await this.#answers.next();
      if (answer.done !== true) return answer.value;
    } catch (error) {
      throw this.#connection.failure(error, this.#context);
    }
    throw new Error(`Cannot ${this.#context.purpose}: containerd ended the call`);
  }

  end(): void {
    this.#context.signal.removeEventListener('abort', this.#cancel);
    this.#call.end();
    this.#call.cancel();
  }
}

const emptyRequest: WriteContentRequest = {
  action: WriteAction.STAT,
  ref: '',
  total: 0n,
  expected: '',
  offset: 0n,
  data: Buffer.alloc(0),
  labels: {},
};

async function* inPieces(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  let waiting: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of chunks) {
    waiting.push(chunk);
    length += chunk.byteLength;
    if (length < PIECE) continue;
    yield Buffer.concat(waiting);
    waiting = [];
    length = 0;
  }
  if (length > 0) yield Buffer.concat(waiting);
}

/** Another client writes the same blob just now. */
function isLocked(error: unknown): boolean {
  return errorCode(error) === 'unavailable' && / locked /.test((error as Error).message);
}

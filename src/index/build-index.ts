/**
 * Builds a layer's index while its blob streams by, in a worker thread: inflating and hashing keep a core
 * busy. The blob is copied into a few blocks of shared memory; when all of them wait for the worker, the
 * input waits too.
 */

import { rm } from 'node:fs/promises';
import { Worker } from 'node:worker_threads';
import { renameDurably, temporaryName } from '../common/atomic-file.js';
import { SiphonError } from '../common/errors.js';
import {
  BLOCKS,
  BLOCK_SIZE,
  type BuildJob,
  type FromBuilder,
  type ToBuilder,
} from './build-protocol.js';
import type { ExpectedLayer } from './expected-layer.js';
import { OUTPUT_MEMORY } from './hash-thread.js';
import type { LayerInfo } from './layer-model.js';
import { errorFrom } from './thread-failure.js';

export interface BuildOptions {
  /** The index file; appears whole or not at all. */
  output: string;
  /** Least uncompressed bytes between two checkpoints. */
  spanSize?: number;
  /** Compared as soon as it can be; a difference is an error. */
  expected?: ExpectedLayer;
  /** Why a table of contents that the layer has was not used; goes into the index for people. */
  because?: string | undefined;
  signal?: AbortSignal;
}

/**
 * Indexes the layer whose blob is `input`, compressed or not.
 * @throws SiphonError `corrupt` where blob or tar are cut, damaged or not what is expected; `unsupported`
 * for formats that nothing here reads; `invalid` for a tree that cannot be; `cancelled`; and what `input`
 * throws. Leaves no file behind then.
 */
export async function buildIndex(
  input: AsyncIterable<Uint8Array>,
  options: BuildOptions,
): Promise<LayerInfo> {
  const path = temporaryName(options.output);
  const { spanSize, expected, because, signal } = options;
  const builder = new BuilderThread({ path, spanSize, expected, because }, signal);
  try {
    await feed(input, builder);
    const info = await builder.finish();
    await renameDurably(path, options.output);
    return info;
  } finally {
    await builder.end();
    // After a success the first name is gone already.
    for (const file of [path, `${path}.staging`]) await rm(file, { force: true });
  }
}

/** Copies the input into blocks; an input that hangs does not keep a failure from being seen. */
async function feed(input: AsyncIterable<Uint8Array>, builder: BuilderThread): Promise<void> {
  const iterator = input[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await Promise.race([iterator.next(), builder.failure]);
      if (next.done === true) return;
      await builder.write(next.value);
    }
  } catch (error) {
    // Not awaited: a generator that hangs answers this only after what it hangs on.
    iterator.return?.().catch(() => undefined);
    throw error;
  }
}

/** A worker thread with its blocks. */
class BuilderThread {
  readonly #worker: Worker;
  readonly #signal: AbortSignal | undefined;
  readonly #arena = new SharedArrayBuffer(BLOCKS * BLOCK_SIZE + OUTPUT_MEMORY);
  /** Offsets of blocks. */
  readonly #free: number[] = [];
  #block: Buffer | undefined;
  #filled = 0;
  #wake: () => void = () => undefined;
  /** Rejects when the thread failed or the caller gave up; never resolves. */
  readonly failure: Promise<never>;
  #fail: (error: unknown) => void = () => undefined;
  readonly #done: Promise<LayerInfo>;
  readonly #onAbort = () => this.#fail(cancelled(this.#signal));

  constructor(job: Omit<BuildJob, 'arena'>, signal: AbortSignal | undefined) {
    this.#signal = signal;
    this.failure = new Promise((_, reject) => (this.#fail = reject));
    // Seen by whoever waits at that moment; nobody may.
    this.failure.catch(() => undefined);
    for (let i = 0; i < BLOCKS; i++) this.#free.push(i * BLOCK_SIZE);
    this.#worker = new Worker(new URL('./build-worker.js', import.meta.url), {
      workerData: { ...job, arena: this.#arena } satisfies BuildJob,
      // The parent's flags need not suit a worker (`--input-type` does not).
      execArgv: [],
    });
    this.#done = new Promise((resolve) => this.#listen(resolve));
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (signal?.aborted === true) this.#onAbort();
  }

  /** Resolves once the bytes are copied, which waits while all blocks are under way. */
  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      this.#block ??= await this.#freeBlock();
      const piece = bytes.subarray(at, at + BLOCK_SIZE - this.#filled);
      this.#block.set(piece, this.#filled);
      this.#filled += piece.length;
      at += piece.length;
      if (this.#filled === BLOCK_SIZE) this.#send();
    }
  }

  finish(): Promise<LayerInfo> {
    if (this.#filled > 0) this.#send();
    this.#post({ kind: 'end' });
    return Promise.race([this.#done, this.failure]);
  }

  /** Ends the thread, wherever it is. */
  async end(): Promise<void> {
    this.#signal?.removeEventListener('abort', this.#onAbort);
    await this.#worker.terminate();
  }

  #listen(resolve: (info: LayerInfo) => void): void {
    this.#worker.on('message', (message: FromBuilder) => {
      if (message.kind === 'done') resolve(message.info);
      else if (message.kind === 'failed') this.#fail(errorFrom(message));
      else {
        this.#free.push(message.offset);
        this.#wake();
      }
    });
    this.#worker.on('error', (error) => this.#fail(error));
    this.#worker.on('exit', () => this.#fail(new Error('The index builder ended before its work')));
  }

  async #freeBlock(): Promise<Buffer> {
    for (;;) {
      const block = this.#free.pop();
      if (block !== undefined) return Buffer.from(this.#arena, block, BLOCK_SIZE);
      await Promise.race([new Promise<void>((resolve) => (this.#wake = resolve)), this.failure]);
    }
  }

  #send(): void {
    const offset = this.#block?.byteOffset ?? 0;
    this.#post({ kind: 'bytes', offset, length: this.#filled });
    this.#block = undefined;
    this.#filled = 0;
  }

  #post(message: ToBuilder): void {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, no window
    this.#worker.postMessage(message);
  }
}

function cancelled(signal: AbortSignal | undefined): SiphonError {
  return new SiphonError('cancelled', 'Cannot index layer: the work was cancelled', {
    cause: signal?.reason,
  });
}

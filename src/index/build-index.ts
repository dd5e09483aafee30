/**
 * Builds a layer's index while its blob streams by, in a worker thread: inflating and hashing keep a core
 * busy. The blob is read or copied into a few blocks of shared memory; when all of them wait for the worker,
 * the input waits too.
 */

import type { BlockReader } from './block-reader.js';
import {
  BLOCKS,
  BLOCK_SIZE,
  type BlockTaken,
  type BuildJob,
  type ToBuilder,
} from './build-protocol.js';
import type { ExpectedLayer } from './expected-layer.js';
import { DECODER_MEMORY } from './decoder-protocol.js';
import { IndexThread, wholeIndex } from './index-thread.js';
import type { LayerInfo } from './layer-model.js';

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
  input: AsyncIterable<Uint8Array> | BlockReader,
  options: BuildOptions,
): Promise<LayerInfo> {
  const { output, spanSize, expected, because, signal } = options;
  return wholeIndex(output, async (path) => {
    const builder = new BuilderThread({ path, spanSize, expected, because }, signal);
    try {
      if ('readBlock' in input) await fill(input, builder);
      else await feed(input, builder);
      return await builder.finish();
    } finally {
      await builder.end();
    }
  });
}

/** Lets the input fill block after block. */
async function fill(input: BlockReader, builder: BuilderThread): Promise<void> {
  for (let filled = BLOCK_SIZE; filled === BLOCK_SIZE;) {
    const block = await builder.nextBlock();
    filled = await Promise.race([input.readBlock(block), builder.failure]);
    builder.advance(filled);
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
  readonly #thread: IndexThread<BlockTaken>;
  readonly #arena = new SharedArrayBuffer(BLOCKS * BLOCK_SIZE + DECODER_MEMORY);
  /** Offsets of blocks. */
  readonly #free: number[] = [];
  #block: Buffer | undefined;
  #filled = 0;
  #wake: () => void = () => undefined;
  /** Rejects when the thread failed or the caller gave up; never resolves. */
  readonly failure: Promise<never>;

  constructor(job: Omit<BuildJob, 'arena'>, signal: AbortSignal | undefined) {
    for (let i = 0; i < BLOCKS; i++) this.#free.push(i * BLOCK_SIZE);
    this.#thread = new IndexThread({
      script: new URL('./build-worker.js', import.meta.url),
      job: { ...job, arena: this.#arena } satisfies BuildJob,
      signal,
      onRequest: ({ offset }) => {
        this.#free.push(offset);
        this.#wake();
      },
    });
    this.failure = this.#thread.finished.then(() => new Promise<never>(() => undefined));
    // Seen by whoever waits at that moment; nobody may.
    this.failure.catch(() => undefined);
  }

  /** Resolves once the bytes are copied, which waits while all blocks are under way. */
  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      const block = await this.nextBlock();
      const piece = bytes.subarray(at, at + block.length);
      block.set(piece);
      at += piece.length;
      this.advance(piece.length);
    }
  }

  /** The memory for the next bytes, never empty; waits while all blocks are under way. */
  async nextBlock(): Promise<Buffer> {
    this.#block ??= await this.#freeBlock();
    return this.#block.subarray(this.#filled);
  }

  /** Says that the first `count` bytes of {@link nextBlock} are there. */
  advance(count: number): void {
    this.#filled += count;
    if (this.#filled === BLOCK_SIZE) this.#send();
  }

  finish(): Promise<LayerInfo> {
    if (this.#filled > 0) this.#send();
    this.#post({ kind: 'end' });
    return this.#thread.finished;
  }

  end(): Promise<void> {
    return this.#thread.end();
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
    this.#thread.post(message);
  }
}

/** A worker thread that unpacks layers, one after another. Without a job it keeps no process alive. */

import { Worker } from 'node:worker_threads';
import { SiphonError } from '../common/errors.js';
import { BlockSender } from './block-sender.js';
import type { UnpackJob, UnpackedLayer } from './unpack-model.js';
import type { FromUnpacker, ToUnpacker } from './unpack-protocol.js';

/** The job that is being done. */
interface Running {
  blocks: BlockSender;
  resolve: (layer: UnpackedLayer) => void;
  reject: (error: Error) => void;
}

export class UnpackThread {
  readonly #worker = new Worker(new URL('./unpack-worker.js', import.meta.url));
  #running: Running | undefined;
  #ended: Error | undefined;

  constructor() {
    this.#worker.unref();
    this.#worker.on('message', (message: FromUnpacker) => this.#listen(message));
    this.#worker.on('error', (error) => this.#end(error));
    this.#worker.on('exit', () => this.#end(new Error('The unpacking thread ended')));
  }

  /** Whether it can take another job. */
  get alive(): boolean {
    return this.#ended === undefined;
  }

  /**
   * Does one job; when this returns or throws, the thread has let go of all files.
   * @throws as unpackBlob, what `source` throws, and SiphonError `cancelled`
   */
  async run(
    job: UnpackJob,
    source: AsyncIterable<Uint8Array>,
    signal: AbortSignal | undefined,
  ): Promise<UnpackedLayer> {
    const blocks = new BlockSender((block, length) =>
      this.#post({ kind: 'bytes', block, length }, [block]),
    );
    const cancel = (): void => this.#post({ kind: 'cancel' });
    const answer = this.#begin(job, blocks);
    signal?.addEventListener('abort', cancel, { once: true });
    if (signal?.aborted === true) cancel();
    try {
      await this.#feed(source, blocks, answer);
      return await answer;
    } finally {
      signal?.removeEventListener('abort', cancel);
      this.#running = undefined;
      this.#worker.unref();
    }
  }

  /** Ends the thread; not while it has a job. */
  async close(): Promise<void> {
    await this.#worker.terminate();
  }

  #begin(job: UnpackJob, blocks: BlockSender): Promise<UnpackedLayer> {
    const answer = new Promise<UnpackedLayer>((resolve, reject) => {
      this.#running = { blocks, resolve, reject };
      if (this.#ended !== undefined) reject(this.#ended);
    });
    this.#worker.ref();
    this.#post({ kind: 'begin', job });
    return answer;
  }

  /** Sends the input until it ends or the answer is there: an input that hangs hides no failure. */
  async #feed(
    source: AsyncIterable<Uint8Array>,
    blocks: BlockSender,
    answer: Promise<UnpackedLayer>,
  ): Promise<void> {
    const iterator = source[Symbol.asyncIterator]();
    const settle = (): undefined => undefined;
    const over = answer.then(settle, settle);
    try {
      for (;;) {
        const next = await Promise.race([iterator.next(), over]);
        if (next?.done === true) {
          blocks.flush();
          this.#post({ kind: 'end' });
          return;
        }
        if (next === undefined) break;
        await Promise.race([blocks.write(next.value), over]);
      }
    } catch (error) {
      this.#post({ kind: 'cancel' });
      await over;
      throw error;
    }
    // Not awaited: a generator that hangs answers this only after what it hangs on.
    iterator.return?.().catch(settle);
  }

  #listen(message: FromUnpacker): void {
    if (message.kind === 'taken') this.#running?.blocks.giveBack(message.block);
    else if (message.kind === 'done') this.#running?.resolve(message.layer);
    else this.#running?.reject(errorFrom(message));
  }

  #end(error: Error): void {
    this.#ended ??= error;
    this.#running?.reject(this.#ended);
  }

  #post(message: ToUnpacker, transfer: ArrayBuffer[] = []): void {
    this.#worker.postMessage(message, transfer);
  }
}

function errorFrom(failed: Extract<FromUnpacker, { kind: 'failed' }>): Error {
  const { code, message, hint, stack } = failed;
  if (code !== undefined) {
    return new SiphonError(code, message, hint === undefined ? {} : { hint });
  }
  const error = new Error(message);
  if (stack !== undefined) error.stack = stack;
  return error;
}

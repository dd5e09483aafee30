/** A thread that makes an index, from the side of the one who asks for it. */

import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { Worker } from 'node:worker_threads';
import { renameDurably, temporaryName } from '../common/atomic-file.js';
import { SiphonError } from '../common/errors.js';
import { type IndexOutcome, LEAVE } from './index-job.js';
import type { LayerInfo } from './layer-model.js';
import { errorFrom } from './thread-failure.js';

/** Milliseconds that a thread has to leave by itself, before it is torn down wherever it is. */
const TIME_TO_LEAVE = 10_000;

/**
 * The index file `output`, which appears whole or not at all.
 * @param make writes the file at the path that it is given, and nothing but that and `<path>.staging`
 * @throws what `make` throws; then neither is left
 */
export async function wholeIndex(
  output: string,
  make: (path: string) => Promise<LayerInfo>,
): Promise<LayerInfo> {
  const path = temporaryName(output);
  try {
    const info = await make(path);
    await renameDurably(path, output);
    return info;
  } finally {
    // After a success the first name is gone already.
    for (const file of [path, `${path}.staging`]) await rm(file, { force: true });
  }
}

export interface IndexThreadOptions<Request> {
  /** The module that the thread runs. */
  script: URL;
  /** Its `workerData`. */
  job: object;
  signal: AbortSignal | undefined;
  /** Called with whatever the thread says besides how its work ended. */
  onRequest?: (request: Request) => void;
}

/** To be ended by its owner, however its work ended. */
export class IndexThread<Request = never> {
  readonly #worker: Worker;
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort = (): void => this.fail(cancelled(this.#signal));
  #fail: (error: unknown) => void = () => undefined;
  /** The finished index; rejects when the thread failed, SiphonError `cancelled` when its owner gave up. */
  readonly finished: Promise<LayerInfo>;

  constructor({ script, job, signal, onRequest }: IndexThreadOptions<Request>) {
    // The parent's flags need not suit a worker (`--input-type` does not).
    this.#worker = new Worker(script, { workerData: job, execArgv: [] });
    this.#signal = signal;
    this.finished = new Promise((resolve, reject) => {
      this.#fail = reject;
      this.#worker.on(
        'message',
        (message: IndexOutcome | { kind: 'request'; request: Request }) => {
          if (message.kind === 'done') resolve(message.info);
          else if (message.kind === 'failed') reject(errorFrom(message));
          else onRequest?.(message.request);
        },
      );
      this.#worker.on('error', reject);
      this.#worker.on('exit', () => reject(new Error('A thread ended before its index was made')));
    });
    // Seen by whoever waits at that moment; nobody may.
    this.finished.catch(() => undefined);
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (signal?.aborted === true) this.#onAbort();
  }

  post(message: unknown): void {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, no window
    this.#worker.postMessage(message);
  }

  /** Lets the work end with an error of its owner's. */
  fail(error: unknown): void {
    this.#fail(error);
  }

  /** Ends the thread; between two of its calls of native code, which do not bear to be torn down. */
  async end(): Promise<void> {
    this.#signal?.removeEventListener('abort', this.#onAbort);
    if (this.#worker.threadId === -1) return;
    const exit = once(this.#worker, 'exit');
    this.post(LEAVE);
    const timer = setTimeout(() => void this.#worker.terminate(), TIME_TO_LEAVE);
    await exit;
    clearTimeout(timer);
  }
}

/** Runs a thread to its end. @throws as {@link IndexThread.finished} */
export async function runIndexThread(options: IndexThreadOptions<never>): Promise<LayerInfo> {
  const thread = new IndexThread(options);
  try {
    return await thread.finished;
  } finally {
    await thread.end();
  }
}

function cancelled(signal: AbortSignal | undefined): SiphonError {
  return new SiphonError('cancelled', 'Cannot index layer: the work was cancelled', {
    cause: signal?.reason,
  });
}

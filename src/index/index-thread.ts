/** A thread that makes an index, from the side of the one who asks for it. */

import { rm } from 'node:fs/promises';
import { Worker } from 'node:worker_threads';
import { renameDurably, temporaryName } from '../common/atomic-file.js';
import { SiphonError } from '../common/errors.js';
import { keepIdle, takeIdle } from './idle-threads.js';
import { type IndexOutcome, LEAVE, type ToThread, setUnwanted, unwantedFlag } from './index-job.js';
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
  /** What it is to do; with the `path` of the index file. */
  job: object;
  signal: AbortSignal | undefined;
  /** Called with whatever the thread says besides how its work ended. */
  onRequest?: (request: Request) => void;
}

type FromThread<Request> = IndexOutcome | { kind: 'request'; request: Request };

/** A thread at work for one owner, who ends that, however it went. */
export class IndexThread<Request = never> {
  readonly #script: URL;
  readonly #worker: Worker;
  readonly #onMessage: (message: FromThread<Request>) => void;
  readonly #onError: (error: unknown) => void;
  readonly #onExit: () => void;
  readonly #unwanted = unwantedFlag();
  #isDone = false;
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort = (): void => this.fail(cancelled(this.#signal));
  #fail: (error: unknown) => void = () => undefined;
  /** The finished index; rejects when the thread failed, SiphonError `cancelled` when its owner gave up. */
  readonly finished: Promise<LayerInfo>;

  constructor({ script, job, signal, onRequest }: IndexThreadOptions<Request>) {
    this.#script = script;
    // The parent's flags need not suit a worker (`--input-type` does not).
    this.#worker = takeIdle(script) ?? new Worker(script, { execArgv: [] });
    this.#signal = signal;
    let succeed: (info: LayerInfo) => void = () => undefined;
    this.finished = new Promise((resolve, reject) => {
      succeed = resolve;
      this.#fail = reject;
    });
    this.#onMessage = (message) => {
      if (message.kind === 'done') {
        this.#isDone = true;
        succeed(message.info);
      } else if (message.kind === 'failed') this.#fail(errorFrom(message));
      else onRequest?.(message.request);
    };
    this.#onError = (error) => this.#fail(error);
    this.#onExit = () => this.#fail(new Error('A thread ended before its index was made'));
    this.#worker.on('message', this.#onMessage).on('error', this.#onError).on('exit', this.#onExit);
    this.#send({ kind: 'begin', job, unwanted: this.#unwanted });
    // Seen by whoever waits at that moment; nobody may.
    this.finished.catch(() => undefined);
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (signal?.aborted === true) this.#onAbort();
  }

  post(message: unknown): void {
    this.#send({ kind: 'message', message });
  }

  /** Lets the work end with an error of its owner's. */
  fail(error: unknown): void {
    this.#fail(error);
  }

  /** Lets the thread rest, for whoever needs the next, if its work is done; else ends it. */
  async end(): Promise<void> {
    this.#signal?.removeEventListener('abort', this.#onAbort);
    const worker = this.#worker;
    if (!this.#isDone) setUnwanted(this.#unwanted);
    if (worker.threadId === -1) return;
    worker.off('message', this.#onMessage).off('error', this.#onError).off('exit', this.#onExit);
    const rests = this.#isDone && keepIdle(this.#script, worker, () => void endThread(worker));
    if (!rests) await endThread(worker);
  }

  #send(message: ToThread<object, unknown>): void {
    send(this.#worker, message);
  }
}

/** Ends a thread; between two of its calls of native code, which do not bear to be torn down. */
async function endThread(worker: Worker): Promise<void> {
  const exit = new Promise((resolve) => worker.once('exit', resolve));
  // Of no use to anybody any more.
  worker.once('error', () => undefined);
  send(worker, LEAVE);
  const timer = setTimeout(() => void worker.terminate(), TIME_TO_LEAVE);
  await exit;
  clearTimeout(timer);
}

function send(worker: Worker, message: ToThread<object, unknown>): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, no window
  worker.postMessage(message);
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

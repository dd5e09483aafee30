/** A thread that makes indexes, from its own side. */

import { parentPort } from 'node:worker_threads';
import { SiphonError } from '../common/errors.js';
import type { LayerInfo } from './layer-model.js';
import { type Failure, failureOf } from './thread-failure.js';

/** How the work of a thread ends. */
export type IndexOutcome = { kind: 'done'; info: LayerInfo } | Failure;

/** Asks a thread to end, which it does before it looks at another message. */
export const LEAVE = 'leave';

/** What a thread is sent: a job, and then whatever that takes, until it is done and the next one comes. */
export type ToThread<Job, In> =
  | { kind: 'begin'; job: Job; unwanted: SharedArrayBuffer }
  | { kind: 'message'; message: In }
  | typeof LEAVE;

/** Memory that tells a job that nobody wants it any more, also while it is at work and hears nothing. */
export function unwantedFlag(): SharedArrayBuffer {
  return new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);
}

export function setUnwanted(flag: SharedArrayBuffer): void {
  Atomics.store(new Int32Array(flag), 0, 1);
}

/** What the work on one index tells the one who asked for it. */
export class IndexJob<Request> {
  readonly #path: string;
  readonly #unwanted: Int32Array;
  #ended = false;

  /** @param path of the index file that is written */
  constructor(path: string, unwanted: SharedArrayBuffer) {
    this.#path = path;
    this.#unwanted = new Int32Array(unwanted);
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** To be called every few milliseconds of work. @throws SiphonError `cancelled` once nobody wants it any more */
  readonly checkWanted = (): void => {
    if (Atomics.load(this.#unwanted, 0) === 0) return;
    throw new SiphonError('cancelled', 'Cannot index layer: the work was cancelled');
  };

  /** Does some of the work, and reports what it throws; the other side then ends this thread and removes the files. */
  attempt<T>(action: () => T): T | undefined {
    if (this.#ended) return undefined;
    try {
      return action();
    } catch (error) {
      this.fail(error);
      return undefined;
    }
  }

  request(request: Request): void {
    this.#say({ kind: 'request', request });
  }

  done(info: LayerInfo): void {
    this.#ended = true;
    this.#say({ kind: 'done', info });
  }

  fail(error: unknown): void {
    this.#ended = true;
    this.#say(failureOf(error, this.#path));
  }

  #say(message: IndexOutcome | { kind: 'request'; request: Request }): void {
    port().postMessage(message, []);
  }
}

/** The jobs of one thread. */
export class IndexJobs<Job extends { path: string }, In, Request> {
  readonly #begin: (data: Job, job: IndexJob<Request>) => (message: In) => void;
  readonly #leave: () => Promise<void>;
  #take: (message: In) => void = () => undefined;

  /**
   * @param begin starts the work on one and returns what takes the messages that are sent for it
   * @param leave ends what the thread has of its own
   */
  constructor(
    begin: (data: Job, job: IndexJob<Request>) => (message: In) => void,
    leave = () => Promise.resolve(),
  ) {
    this.#begin = begin;
    this.#leave = leave;
  }

  /** Does one after another, until the thread is asked to leave. */
  listen(): void {
    port().on('message', (sent: ToThread<Job, In>) => {
      if (sent === LEAVE) void this.#leave().finally(() => process.exit());
      else if (sent.kind === 'message') this.#take(sent.message);
      else this.#start(sent.job, sent.unwanted);
    });
  }

  #start(data: Job, unwanted: SharedArrayBuffer): void {
    const job = new IndexJob<Request>(data.path, unwanted);
    const take = job.attempt(() => this.#begin(data, job));
    this.#take = (message) => {
      job.attempt(() => take?.(message));
      // A thread that rests holds nothing of its last job.
      if (job.ended) this.#take = () => undefined;
    };
  }
}

/**
 * Jobs that take no messages and are done by themselves. Leaving waits for the one at work, which may be in
 * native code on other threads, and that does not bear that this one goes.
 */
export class AsyncIndexJobs<Job extends { path: string }> extends IndexJobs<Job, never, never> {
  /**
   * @param work calls `checkWanted` every few milliseconds
   * @param stop asks the one at work to end soon
   */
  constructor(
    work: (data: Job, checkWanted: () => void) => Promise<LayerInfo>,
    stop: () => void = () => undefined,
  ) {
    let atWork: Promise<void> = Promise.resolve();
    super(
      (data, job) => {
        atWork = work(data, job.checkWanted).then(
          (info) => job.done(info),
          (error: unknown) => job.fail(error),
        );
        return () => undefined;
      },
      () => {
        stop();
        return atWork;
      },
    );
  }
}

function port(): NonNullable<typeof parentPort> {
  if (parentPort === null) throw new Error('An index job runs in a worker thread only');
  return parentPort;
}

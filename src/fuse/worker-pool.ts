/**
 * The threads that answer the kernel. A thread that dies is replaced, and the kernel is asked to send
 * again what it left unanswered. See worker-protocol.ts for how sleeping threads are told things.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { createCounters } from './counters.js';
import { allowInterrupts, interruptThread } from '../ffi/thread-interrupt.js';
import type { Connection } from './device.js';
import type { ServedLayer } from './served-layer.js';
import type { FromWorker, ToWorker, WorkerSettings } from './worker-protocol.js';

export interface WorkerPoolOptions {
  connection: Connection;
  count: number;
  /** Layers that are there from the start. */
  layers: readonly ServedLayer[];
  /** Numbers of layers that will be added, or removed, soon: requests about them wait. */
  awaited: readonly number[];
  /** Seconds: modification time of the root directory. */
  time: number;
  /** Anything that a worker says, but what the pool itself is meant by. */
  receive: (message: FromWorker) => void;
  /** A worker ended that should not have; another is on its way, unless that failed too. */
  died: (error: Error) => void;
}

interface Member {
  worker: Worker;
  /** Id of its thread, once it is ready. */
  thread: number | undefined;
  /** The last epoch whose messages it has taken. */
  epoch: number;
}

/** Workers that may die in a session before the pool gives up replacing them. */
const replacementLimit = 16;
/** Milliseconds for a worker that was woken to say so, and how often it is woken at most. */
const WAKE_INTERVAL = 5;
const SETTLE_TRIES = 200;

export class WorkerPool {
  readonly #options: WorkerPoolOptions;
  readonly #members = new Set<Member>();
  readonly #layers = new Map<number, ServedLayer>();
  readonly #awaited: Set<number>;
  readonly #epoch = new Int32Array(new SharedArrayBuffer(4));
  readonly #stopping = new Int32Array(new SharedArrayBuffer(4));
  readonly #left = new Int32Array(new SharedArrayBuffer(4));
  readonly #ended: Promise<void>;
  #end: () => void = () => {};
  #replaced = 0;
  /** One for each worker that ever was. */
  readonly counters: Float64Array[] = [];

  private constructor(options: WorkerPoolOptions) {
    this.#options = options;
    this.#awaited = new Set(options.awaited);
    for (const layer of options.layers) this.#layers.set(layer.number, layer);
    this.#ended = new Promise((resolve) => (this.#end = resolve));
  }

  /** Starts all workers and waits until they read. @throws what keeps a worker from starting */
  static async start(options: WorkerPoolOptions): Promise<WorkerPool> {
    allowInterrupts();
    const pool = new WorkerPool(options);
    const starts = Array.from({ length: options.count }, () => pool.#startWorker());
    await Promise.all(starts);
    return pool;
  }

  /** Resolves when no worker is left. */
  get ended(): Promise<void> {
    return this.#ended;
  }

  layer(number: number): ServedLayer | undefined {
    return this.#layers.get(number);
  }

  /** @returns whether it was awaited */
  add(layer: ServedLayer): boolean {
    this.#layers.set(layer.number, layer);
    this.#tell({ kind: 'add', layer });
    return this.#awaited.delete(layer.number);
  }

  /** @returns whether it was awaited */
  remove(number: number): boolean {
    this.#layers.delete(number);
    this.#tell({ kind: 'remove', number });
    return this.#awaited.delete(number);
  }

  /**
   * Wakes sleeping workers until all have taken their messages, so that none keeps a removed layer's
   * files open. A busy one takes them with its next request.
   */
  async settle(): Promise<void> {
    const epoch = Atomics.load(this.#epoch, 0);
    const behind = (): Member[] => [...this.#members].filter((member) => member.epoch < epoch);
    for (let tries = 0; tries < SETTLE_TRIES && behind().length > 0; tries += 1) {
      interrupt(behind());
      await delay(WAKE_INTERVAL);
    }
  }

  /** Has every worker end when it has answered what it has. */
  async stop(): Promise<void> {
    Atomics.store(this.#stopping, 0, 1);
    while (this.#members.size > 0) {
      interrupt(this.#members);
      await delay(WAKE_INTERVAL);
    }
  }

  /** As {@link stop}, for the moment when the process exits. */
  stopNow(): void {
    Atomics.store(this.#stopping, 0, 1);
    const goal = Atomics.load(this.#left, 0) + this.#members.size;
    for (let tries = 0; tries < SETTLE_TRIES; tries += 1) {
      const left = Atomics.load(this.#left, 0);
      if (left >= goal) return;
      interrupt(this.#members);
      Atomics.wait(this.#left, 0, left, WAKE_INTERVAL);
    }
  }

  #tell(message: ToWorker): void {
    for (const { worker } of this.#members) {
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, no window
      worker.postMessage(message);
    }
    Atomics.add(this.#epoch, 0, 1);
  }

  /** Resolves when the worker is about to read its first request. */
  #startWorker(): Promise<void> {
    const counters = createCounters();
    this.counters.push(counters);
    const worker = new Worker(new URL('./worker.js', import.meta.url), {
      name: 'siphon-fuse',
      // What the process was started with (--input-type, a debugger) is not meant for threads.
      execArgv: [],
      workerData: this.#settings(counters),
    });
    const member: Member = { worker, thread: undefined, epoch: Atomics.load(this.#epoch, 0) };
    this.#members.add(member);
    return new Promise((resolve, reject) => {
      let failure = new Error('Cannot go on serving FUSE requests: a worker thread ended');
      worker.on('message', (message: FromWorker) => {
        this.#receive(member, message);
        if (message.kind === 'ready') resolve();
      });
      worker.on('error', (error) => (failure = error));
      worker.on('exit', (code) => {
        reject(failure);
        this.#exited(member, code === 0 ? undefined : failure);
      });
    });
  }

  #settings(counters: Float64Array): WorkerSettings {
    const { device, agreement } = this.#options.connection;
    return {
      device,
      agreement,
      layers: [...this.#layers.values()],
      awaited: [...this.#awaited],
      time: this.#options.time,
      epoch: this.#epoch,
      counters,
      stopping: this.#stopping,
      left: this.#left,
    };
  }

  #receive(member: Member, message: FromWorker): void {
    if (message.kind === 'ready') member.thread = message.thread;
    else if (message.kind === 'epoch') member.epoch = message.epoch;
    else this.#options.receive(message);
  }

  #exited(member: Member, failure: Error | undefined): void {
    this.#members.delete(member);
    const isMeant = Atomics.load(this.#stopping, 0) !== 0;
    if (failure !== undefined && member.thread !== undefined && !isMeant) this.#replace(failure);
    if (this.#members.size === 0) this.#end();
  }

  #replace(failure: Error): void {
    this.#replaced += 1;
    this.#options.died(failure);
    if (this.#replaced > replacementLimit) return;
    this.#startWorker().catch((error: unknown) => {
      this.#options.died(error instanceof Error ? error : new Error(String(error)));
    });
  }
}

function interrupt(members: Iterable<Member>): void {
  for (const { thread } of members) if (thread !== undefined) interruptThread(thread);
}

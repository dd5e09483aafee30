/** Hashes on a thread of its own, so that the calling thread can go on inflating. */

import {
  MessageChannel,
  type MessagePort,
  Worker,
  receiveMessageOnPort,
} from 'node:worker_threads';
import { type HashJob, HashQueue, ORDER, QUEUE_BYTES } from './hash-queue.js';
import {
  type HashTarget,
  type LayerDigests,
  type LayerHasher,
  OUTPUT_SIZE,
} from './layer-hasher.js';

/** How far the thread may lag behind, in pieces of output. */
const OUTPUTS = 8;

/** Memory that the thread needs for output, beside what its caller keeps in the same arena. */
export const OUTPUT_MEMORY = OUTPUTS * OUTPUT_SIZE;

export class HashThread implements LayerHasher {
  readonly #arena: SharedArrayBuffer;
  readonly #queue: HashQueue;
  readonly #worker: Worker;
  readonly #results: MessagePort;
  /** For each output what must be hashed before it is free. */
  readonly #outputs: { bytes: Buffer; mark: number }[] = [];
  #output = 0;

  /** Of `arena`, the last {@link OUTPUT_MEMORY} bytes are for output; all bytes to hash must lie in it. */
  constructor(arena: SharedArrayBuffer) {
    this.#arena = arena;
    const queue = new SharedArrayBuffer(QUEUE_BYTES);
    this.#queue = new HashQueue(queue);
    for (let at = arena.byteLength - OUTPUT_MEMORY; at < arena.byteLength; at += OUTPUT_SIZE)
      this.#outputs.push({ bytes: Buffer.from(arena, at, OUTPUT_SIZE), mark: 0 });
    const { port1, port2 } = new MessageChannel();
    this.#results = port1;
    const job: HashJob = { arena, queue, results: port2 };
    this.#worker = new Worker(new URL('./hash-worker.js', import.meta.url), {
      workerData: job,
      transferList: [port2],
      execArgv: [],
    });
    // It ends with its last order; nobody waits for it.
    this.#worker.unref();
    this.#results.unref();
  }

  get mark(): number {
    return this.#queue.written;
  }

  nextOutput(): Buffer {
    const present = this.#outputs[this.#output];
    if (present !== undefined) present.mark = this.mark;
    this.#output = (this.#output + 1) % OUTPUTS;
    const next = this.#outputs[this.#output];
    if (next === undefined) throw new Error(`There are ${this.#outputs.length} outputs`);
    this.settle(next.mark);
    return next.bytes;
  }

  update(target: HashTarget, bytes: Buffer): void {
    if (bytes.buffer !== this.#arena) throw new Error('The bytes to hash are not in the arena');
    this.#queue.write({ what: ORDER[target], offset: bytes.byteOffset, length: bytes.length });
  }

  endSpan(): void {
    this.#queue.write({ what: ORDER.endSpan, offset: 0, length: 0 });
  }

  settle(mark: number): void {
    this.#queue.waitUntilDone(mark);
  }

  finish(): LayerDigests {
    this.#queue.write({ what: ORDER.finish, offset: 0, length: 0 });
    this.settle(this.mark);
    const received: { message: Digests } | undefined = receiveMessageOnPort(this.#results);
    if (received === undefined) throw new Error('The hash thread ended without a result');
    const { blob, tar, spans } = received.message;
    return {
      blob: Buffer.from(blob),
      tar: Buffer.from(tar),
      spans: spans.map((span) => Buffer.from(span)),
    };
  }

  close(): void {
    void this.#worker.terminate();
  }
}

/** Buffers arrive as what they are made of. */
interface Digests {
  blob: Uint8Array;
  tar: Uint8Array;
  spans: Uint8Array[];
}

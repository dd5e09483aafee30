/**
 * Decodes on a thread of its own, which hashes too where it would wait, and does nothing else: that takes as long as all
 * the rest of the work on a layer. What it finds out is told here, in the calling thread, while it is at the next bytes.
 */

import { MessageChannel, Worker, receiveMessageOnPort } from 'node:worker_threads';
import { DECODER_LAG, type DecoderListener, type SpanDecoder } from './decoder-model.js';
import { type DecoderJob, type DecoderLink, EVENT, ORDER } from './decoder-protocol.js';
import { type Failure, errorFrom } from './thread-failure.js';
import { FollowedDigests, SharedDigests, digestMemory } from './shared-digests.js';
import { LIFE_BYTES, ThreadLife } from './thread-life.js';
import { RING_BYTES, type RingRecord, ThreadRing } from './thread-ring.js';

export class DecoderThread {
  readonly #orders: ThreadRing;
  readonly #events: ThreadRing;
  readonly #life: ThreadLife;
  readonly #worker: Worker;
  readonly #port;
  readonly #digests = digestMemory();

  constructor() {
    const { port1, port2 } = new MessageChannel();
    const link: DecoderLink = {
      orders: new SharedArrayBuffer(RING_BYTES),
      events: new SharedArrayBuffer(RING_BYTES),
      life: new SharedArrayBuffer(LIFE_BYTES),
      port: port2,
    };
    this.#life = new ThreadLife(link.life);
    this.#orders = new ThreadRing(link.orders);
    this.#events = new ThreadRing(link.events);
    this.#port = port1;
    this.#worker = new Worker(new URL('./decoder-worker.js', import.meta.url), {
      workerData: link,
      transferList: [port2],
      execArgv: [],
    });
    this.#worker.unref();
    this.#port.unref();
  }

  /**
   * Begins with another layer; the one before must be finished.
   * @returns what decodes it; bytes that are pushed must lie in the job's arena
   */
  begin(job: Omit<DecoderJob, 'digests'>, listener: DecoderListener): SpanDecoder {
    const { arena } = job;
    const shared = this.#digests && new SharedDigests(this.#digests, this.#events, arena);
    const digests = shared && new FollowedDigests(shared, () => this.#life.check());
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, no window
    this.#port.postMessage({ ...job, digests: this.#digests } satisfies DecoderJob);
    this.#orders.write([ORDER.begin]);
    return new RemoteDecoder(arena, listener, digests, {
      order: (record) => this.#orders.write(record),
      takeEvent: (perform) => this.#events.takeNext(perform, () => this.#life.check()),
      failure: () => this.#failure(),
    });
  }

  /** Ends the thread, between two of its calls of native code. */
  async end(): Promise<void> {
    if (this.#worker.threadId === -1) return;
    const exit = new Promise((resolve) => this.#worker.once('exit', resolve));
    this.#worker.ref();
    for (const ring of [this.#orders, this.#events]) ring.stop();
    await exit;
  }

  #failure(): Error {
    const received: { message: Failure } | undefined = receiveMessageOnPort(this.#port);
    return received === undefined
      ? new Error('The decoder failed without an error')
      : errorFrom(received.message);
  }
}

interface Link {
  order(record: RingRecord): void;
  takeEvent(perform: (record: RingRecord, number: number) => void): void;
  failure(): Error;
}

class RemoteDecoder implements SpanDecoder {
  readonly #arena: SharedArrayBuffer;
  readonly #listener: DecoderListener;
  readonly digests: FollowedDigests | undefined;
  readonly #link: Link;
  /** Pieces of the blob that the thread has not done with. */
  #pending = 0;
  #end: number | undefined;
  #isClosed = false;

  constructor(
    arena: SharedArrayBuffer,
    listener: DecoderListener,
    digests: FollowedDigests | undefined,
    link: Link,
  ) {
    this.#arena = arena;
    this.#listener = listener;
    this.digests = digests;
    this.#link = link;
  }

  push(bytes: Buffer): void {
    if (bytes.buffer !== this.#arena) throw new Error('The bytes to decode are not in the arena');
    this.#link.order([ORDER.push, bytes.byteOffset, bytes.length]);
    this.#pending += 1;
    while (this.#pending > DECODER_LAG) this.#takeEvent();
  }

  finish(): number {
    this.#link.order([ORDER.finish]);
    while (this.#end === undefined) this.#takeEvent();
    return this.#end;
  }

  /** The thread keeps nothing of the layer. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#link.order([ORDER.close]);
  }

  #takeEvent(): void {
    this.#link.takeEvent((event, number) => {
      this.#follow(event);
      this.digests?.follow(number, event);
    });
  }

  #follow([what, a = 0, b = 0, c = 0, d = 0]: RingRecord): void {
    switch (what) {
      case EVENT.output:
        this.#listener.output(Buffer.from(this.#arena, a, b));
        break;
      case EVENT.checkpoint:
        this.#listener.checkpoint({ blobOffset: a, bits: b, previousEnd: c });
        break;
      case EVENT.window:
        this.#listener.window(Buffer.from(this.#arena, a, b), {
          input: Buffer.from(this.#arena, a + b, c),
          bits: d,
        });
        break;
      case EVENT.packedWindow:
        this.#listener.packedWindow(Buffer.from(this.#arena, a, b));
        break;
      case EVENT.split:
        this.#listener.split();
        break;
      case EVENT.taken:
        this.#pending -= 1;
        break;
      case EVENT.finished:
        this.#end = a;
        break;
      default:
        throw this.#link.failure();
    }
  }
}

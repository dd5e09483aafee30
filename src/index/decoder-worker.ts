/** The worker thread that decodes one layer after another; started by {@link DecoderThread}. */

import { type MessagePort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { type DecoderListener, OUTPUT_SIZE, type SpanDecoder } from './decoder-model.js';
import {
  AHEAD,
  type DecoderJob,
  type DecoderLink,
  EVENT,
  ORDER,
  OUTPUTS,
  WINDOWS,
  WINDOW_ROOM,
} from './decoder-protocol.js';
import { WindowPacker } from './pack-window.js';
import { SharedDigests } from './shared-digests.js';
import { spanDecoder } from './span-decoder.js';
import type { Blocks } from './sparse-window.js';
import { failureOf } from './thread-failure.js';
import { announceThread } from './thread-life.js';
import { type RingRecord, RingStopped, ThreadRing } from './thread-ring.js';

// Written by DecoderThread, in this very package.
const link = workerData as DecoderLink;
announceThread(link.life);
const port: MessagePort = link.port;
const orders = new ThreadRing(link.orders);
const events = new ThreadRing(link.events);

/** Pieces of memory that are given out in turns, each only when what was said of it before is done. */
class Pieces {
  readonly #pieces: { bytes: Buffer; mark: number }[] = [];
  #at = 0;

  constructor(arena: SharedArrayBuffer, offset: number, count: number, size: number) {
    for (let i = 0; i < count; i++)
      this.#pieces.push({ bytes: Buffer.from(arena, offset + i * size, size), mark: 0 });
    for (const piece of this.#pieces) piece.mark = events.written;
  }

  next(): Buffer {
    const present = this.#pieces[this.#at];
    if (present !== undefined) present.mark = events.written;
    this.#at = (this.#at + 1) % this.#pieces.length;
    const next = this.#pieces[this.#at];
    if (next === undefined) throw new Error('There is no memory for output');
    // Who would wait hashes what the other thread has not come to.
    while (!events.isDone(next.mark) && digests?.help(events.written) === true);
    events.waitUntilDone(next.mark);
    return next.bytes;
  }
}

/** Of the layer that is being decoded. */
let arena: SharedArrayBuffer | undefined;
let decoder: SpanDecoder | undefined;
let digests: SharedDigests | undefined;
let packer: WindowPacker | undefined;

try {
  for (;;) orders.takeNext(performOrFail);
} catch (error) {
  // The thread ends with this; its owner may have no more use for it.
  if (!(error instanceof RingStopped)) throw error;
} finally {
  close();
  port.close();
}

function performOrFail(order: RingRecord): void {
  try {
    perform(order);
  } catch (error) {
    if (error instanceof RingStopped) throw error;
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, no window
    port.postMessage(failureOf(error, ''));
    events.write([EVENT.failed]);
  }
}

function perform([what, offset = 0, length = 0]: RingRecord): void {
  switch (what) {
    case ORDER.begin:
      begin();
      break;
    case ORDER.push:
      if (arena !== undefined) decoder?.push(Buffer.from(arena, offset, length));
      events.write([EVENT.taken]);
      break;
    case ORDER.close:
      close();
      break;
    default:
      events.write([EVENT.finished, decoder?.finish() ?? 0]);
  }
}

/** Gives back what the layer took: a window of up to 128 MiB, and memory that is shared. */
function close(): void {
  decoder?.close();
  decoder = undefined;
  packer?.[Symbol.dispose]();
  packer = undefined;
  digests = undefined;
  arena = undefined;
}

function begin(): void {
  close();
  const received: { message: DecoderJob } | undefined = receiveMessageOnPort(port);
  if (received === undefined) throw new Error('The decoder has no job');
  const job = received.message;
  ({ arena } = job);
  digests = job.digests && new SharedDigests(job.digests, events, arena);
  const outputs = new Pieces(arena, job.memoryOffset, OUTPUTS, OUTPUT_SIZE);
  const windowsOffset = job.memoryOffset + OUTPUTS * OUTPUT_SIZE;
  const windows = new Pieces(arena, windowsOffset, WINDOWS, WINDOW_ROOM);
  decoder = spanDecoder(job.compression, listenerWith(windows), {
    spanSize: job.spanSize,
    checksums: job.checksums,
    nextOutput: () => outputs.next(),
  });
}

function listenerWith(windows: Pieces): DecoderListener {
  return {
    output: (bytes) => events.write([EVENT.output, bytes.byteOffset, bytes.length]),
    split: () => events.write([EVENT.split]),
    checkpoint: ({ blobOffset, bits, previousEnd }) =>
      events.write([EVENT.checkpoint, blobOffset, bits, previousEnd]),
    window(bytes, { input, bits }) {
      const packed = packAhead(bytes, { input, bits });
      if (packed !== undefined) {
        this.packedWindow(packed);
        return;
      }
      const place = windows.next();
      const offset = put(bytes, place);
      put(input, place.subarray(bytes.length));
      events.write([EVENT.window, offset, bytes.length, input.length, bits]);
    },
    packedWindow(bytes) {
      events.write([EVENT.packedWindow, put(bytes, windows.next()), bytes.length]);
    },
  };
}

/** The window packed, where the other thread is behind. */
function packAhead(window: Buffer, blocks: Blocks): Buffer | undefined {
  if (events.isDone((events.written - AHEAD) | 0)) return undefined;
  packer ??= new WindowPacker();
  return packer.pack(window, blocks);
}

/** Returns where `bytes` are now. */
function put(bytes: Buffer, place: Buffer): number {
  place.set(bytes);
  return place.byteOffset;
}

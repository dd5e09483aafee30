/**
 * What the main thread and the workers tell each other.
 *
 * A worker sleeps in a read of /dev/fuse, where no message reaches it. So the main thread posts, then
 * counts up the shared epoch; a worker that reads a request sees the new epoch and takes its messages
 * before it answers. Nobody can name a layer before it was posted, so no request comes too early. A
 * sleeping worker is interrupted by a signal, again and again until it has said that it is awake, for a signal
 * just before it sleeps is lost. (A look-up in the mount would wake one too; but a thread that waits for the mount of
 * its own process cannot be killed while it does.)
 */

import type { Agreement } from './protocol/init.js';
import type { HeldRequest } from './held-requests.js';
import type { MissedRead } from './missed-read.js';
import type { ServedLayer } from './served-layer.js';

/** What a worker starts with. */
export interface WorkerSettings {
  /** Descriptor of /dev/fuse. */
  device: number;
  agreement: Agreement;
  layers: ServedLayer[];
  /** Layers that are not there yet: requests about them get no answer, but from those that come later. */
  awaited: number[];
  /** Seconds: modification time of the root directory. */
  time: number;
  /** One word: how many times the main thread has posted to all workers. */
  epoch: Int32Array;
  counters: Float64Array;
  /** One word: other than 0, workers are to end. */
  stopping: Int32Array;
  /** One word: how many workers have ended. */
  left: Int32Array;
}

export type ToWorker = { kind: 'add'; layer: ServedLayer } | { kind: 'remove'; number: number };

export type FromWorker =
  /** It is about to read; its thread has this id. */
  | { kind: 'ready'; thread: number }
  | { kind: 'miss'; read: MissedRead }
  | { kind: 'held'; request: HeldRequest }
  | { kind: 'interrupt'; uniqueKey: number }
  /** The worker has seen the main thread's messages up to this epoch. */
  | { kind: 'epoch'; epoch: number }
  | { kind: 'failure'; failure: OperationFailure };

/** An operation that threw; the kernel was told EIO. */
export interface OperationFailure {
  operation: string;
  layer: number;
  ino: number;
  message: string;
  stack: string | undefined;
}

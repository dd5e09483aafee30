/**
 * The threads that unpack: as many as layers are unpacked at once, started when needed, kept for a while,
 * since starting one takes as long as unpacking a small layer.
 */

import pLimit from 'p-limit';
import { SiphonError } from '../common/errors.js';
import type { UnpackJob, UnpackedLayer } from './unpack-model.js';
import { UnpackThread } from './unpack-thread.js';

/** Layers at once; each keeps up to two processors busy. */
const THREADS = 2;
/** Milliseconds. */
const IDLE_TIME = 5000;

const limit = pLimit(THREADS);
const idle: { thread: UnpackThread; timer: NodeJS.Timeout }[] = [];

export interface ThreadJob {
  job: UnpackJob;
  source: AsyncIterable<Uint8Array>;
  signal: AbortSignal | undefined;
}

/** Unpacks as soon as a thread is free. @throws as UnpackThread.run */
export function runOnThread({ job, source, signal }: ThreadJob): Promise<UnpackedLayer> {
  return new Promise((resolve, reject) => {
    let begun = false;
    const leave = (): void => {
      if (!begun) reject(cancelled(signal));
    };
    signal?.addEventListener('abort', leave, { once: true });
    limit(async () => {
      begun = true;
      signal?.removeEventListener('abort', leave);
      if (signal?.aborted === true) throw cancelled(signal);
      const thread = takeThread();
      try {
        return await thread.run(job, source, signal);
      } finally {
        keepThread(thread);
      }
    }).then(resolve, reject);
  });
}

function takeThread(): UnpackThread {
  for (let last = idle.pop(); last !== undefined; last = idle.pop()) {
    clearTimeout(last.timer);
    if (last.thread.alive) return last.thread;
  }
  return new UnpackThread();
}

function keepThread(thread: UnpackThread): void {
  if (!thread.alive) return;
  const timer = setTimeout(() => {
    const at = idle.findIndex((one) => one.thread === thread);
    if (at !== -1) idle.splice(at, 1);
    void thread.close();
  }, IDLE_TIME);
  timer.unref();
  idle.push({ thread, timer });
}

function cancelled(signal: AbortSignal | undefined): SiphonError {
  return new SiphonError('cancelled', 'Cannot unpack layer: the work was cancelled', {
    cause: signal?.reason,
  });
}

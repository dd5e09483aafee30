/**
 * Threads that have done their work, kept for the next: to start one takes longer than to index a small layer,
 * and an image has many. There are never more than the machine has cores, and none for long.
 */

import { availableParallelism } from 'node:os';
import type { Worker } from 'node:worker_threads';

const MAX_IDLE = availableParallelism();
/** Milliseconds after which an idle thread is let go. */
const PATIENCE = 10_000;

interface Idle {
  /** The module it runs. */
  script: string;
  worker: Worker;
  /** Takes it off the list. */
  forget: () => void;
}

/** The one that rests longest first. */
const idle: Idle[] = [];

/** A thread that runs `script` and has nothing to do; the caller's from now on. */
export function takeIdle(script: URL): Worker | undefined {
  const found = idle.findLast((one) => one.script === script.href);
  found?.forget();
  found?.worker.ref();
  return found?.worker;
}

/**
 * Keeps `worker`, to which its owner listens no more, for {@link takeIdle}; it does not keep the process alive.
 * @param leave ends the thread
 * @returns false where there are enough; the worker stays its owner's then
 */
export function keepIdle(script: URL, worker: Worker, leave: () => void): boolean {
  if (idle.length >= MAX_IDLE) return false;
  const timer = setTimeout(() => {
    forget();
    leave();
  }, PATIENCE).unref();
  // One that fails without work is of no more use.
  worker.once('error', forget).once('exit', forget);
  const entry: Idle = { script: script.href, worker, forget };
  function forget(): void {
    clearTimeout(timer);
    worker.off('error', forget).off('exit', forget);
    const at = idle.indexOf(entry);
    if (at >= 0) idle.splice(at, 1);
  }
  worker.unref();
  idle.push(entry);
  return true;
}

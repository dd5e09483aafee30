/**
 * Gives memory back that nobody uses. Contents pass through a server in buffers that V8 counts as next to nothing:
 * it lets some 70 MiB of them lie before it looks, and an idle process never does; and glibc keeps what is
 * freed, in pieces between what is not. So now and then this looks how much more there is, collects it, and has glibc return it to the system.
 */

import { koffi } from './koffi.js';

/** Between two looks, in ms. */
const INTERVAL = 1000;
/** Bytes that may come together, or go, beyond what was left the last time: a thread that ends leaves some in pieces. */
const SPARE = 8 << 20;
/** What one collection finds is freed beside it, so that only the next can give it back. */
const COLLECTIONS = 2;

/**
 * Looks until disposed. Does nothing in a process that was started without `--expose-gc`. A collection takes some
 * 20 ms of the thread that calls this; where little has come together there is none.
 */
export function giveBackMemory(): Disposable {
  const collect = globalThis.gc;
  let left = process.memoryUsage.rss();
  let due = 0;
  const look = (): void => {
    const resident = process.memoryUsage.rss();
    if (Math.abs(resident - left) > SPARE) due = COLLECTIONS;
    if (due === 0) return;
    collect?.();
    trim();
    left = process.memoryUsage.rss();
    due -= 1;
  };
  const timer = collect === undefined ? undefined : setInterval(look, INTERVAL).unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/** malloc_trim(3); other C libraries than glibc have none, and keep less. */
const trim: () => void = (() => {
  try {
    const malloc_trim = koffi.load(null).func('int malloc_trim(size_t pad)');
    return () => void malloc_trim(0);
  } catch {
    return () => undefined;
  }
})();

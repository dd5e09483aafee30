/**
 * Gives memory back that nobody uses. Contents pass through a server in buffers that V8 counts as next to nothing:
 * it lets some 70 MiB of them lie before it looks, and an idle process never does; and glibc keeps what is
 * freed. So now and then this looks how much there is, collects it, and has glibc return it to the system.
 */

import koffi from 'koffi';

/** Between two looks, in ms. */
const INTERVAL = 2000;
/** Bytes of buffers that may lie about, beside those in use. */
const SPARE = 8 << 20;

/**
 * Looks until disposed. Does nothing in a process that was started without `--expose-gc`. A collection takes some
 * 20 ms of the thread that calls this; with little to collect there is none.
 */
export function giveBackMemory(): Disposable {
  const collect = globalThis.gc;
  let inUse = 0;
  let hasCollected = false;
  const look = (): void => {
    const { arrayBuffers } = process.memoryUsage();
    // What one look collects is freed beside it; the next finds what is left.
    if (hasCollected) {
      inUse = arrayBuffers;
      trim();
    }
    hasCollected = arrayBuffers > inUse + SPARE;
    if (hasCollected) collect?.();
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

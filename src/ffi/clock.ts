/** The wall clock at nanoseconds, which Node offers at milliseconds only. */

import { koffi } from './koffi.js';
import { SystemError } from './libc.js';

const CLOCK_REALTIME = 0;
const timespec = koffi.struct({ tv_sec: 'int64', tv_nsec: 'long' });
const clockGettime = koffi
  .load(null)
  .func('clock_gettime', 'int', ['int', koffi.out(koffi.pointer(timespec))]) as (
  clock: number,
  // koffi fills the fields in; there is no type for its out parameters.
  out: { tv_sec?: number | bigint; tv_nsec?: number | bigint },
) => number;

/** Nanoseconds since the Unix epoch, clock_gettime(2). */
export function wallClock(): bigint {
  const now: { tv_sec?: number | bigint; tv_nsec?: number | bigint } = {};
  if (clockGettime(CLOCK_REALTIME, now) !== 0)
    throw new SystemError('clock_gettime', koffi.errno(), 'CLOCK_REALTIME');
  return BigInt(now.tv_sec ?? 0) * 1_000_000_000n + BigInt(now.tv_nsec ?? 0);
}

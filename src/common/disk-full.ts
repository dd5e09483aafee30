/** How a full disk shows: as a system error, in SQLite's words, or as what somebody made of either. */

import { SiphonError, systemCode } from './errors.js';

const codes: ReadonlySet<string | undefined> = new Set(['ENOSPC', 'EDQUOT', 'SQLITE_FULL']);

/** Whether `error`, or what caused it, says that there is no room on the disk. */
export function isDiskFull(error: unknown): boolean {
  for (let one = error; one instanceof Error; one = one.cause) {
    if (codes.has(systemCode(one))) return true;
    if (one instanceof SiphonError && one.code === 'no-space') return true;
  }
  return false;
}

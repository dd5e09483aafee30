/**
 * koffi, for a process whose output may be a file. When the process ends, koffi has standard output and error written
 * to the disk (fsync), and where the disk does not take the latter, it waits for ever for a lock that it holds itself.
 * So files among them are let go before. An error that nobody caught is printed only then, so they stay for that.
 */

import koffi from 'koffi';
import { closeSync, fstatSync, openSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';

export { koffi };

const STANDARD_OUTPUTS = [1, 2];

if (isMainThread) {
  const dup2 = koffi.load(null).func('int dup2(int from, int to)');
  const leave = (): void => leaveFiles(dup2);
  process.once('exit', leave);
  process.once('uncaughtExceptionMonitor', () => process.off('exit', leave));
}

function leaveFiles(dup2: (from: number, to: number) => number): void {
  const nowhere = openSync('/dev/null', 'w');
  for (const fd of STANDARD_OUTPUTS) if (fstatSync(fd).isFile()) dup2(nowhere, fd);
  closeSync(nowhere);
}

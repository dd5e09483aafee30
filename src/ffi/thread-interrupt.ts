/**
 * Breaks off a system call that another thread of this process waits in (EINTR). The signal is SIGURG, which
 * nobody sends unasked and whose handler does nothing; what the C library restarts after a signal otherwise ends.
 */

import { koffi } from './koffi.js';
import { SystemError } from './libc.js';

const process_ = koffi.load(null);
const gettid_ = process_.func('int gettid()');
const tgkill_ = process_.func('int tgkill(int process, int thread, int signal)');
const siginterrupt_ = process_.func('int siginterrupt(int signal, int flag)');

const SIGURG = 23;
let isPrepared = false;

/** The kernel's id of the calling thread. */
export function threadId(): number {
  return Number(gettid_());
}

/**
 * Makes {@link interruptThread} possible; to be called on the main thread. Once is enough.
 * @throws SystemError
 */
export function allowInterrupts(): void {
  if (isPrepared) return;
  process.on('SIGURG', () => undefined);
  if (siginterrupt_(SIGURG, 1) !== 0)
    throw new SystemError('siginterrupt', koffi.errno(), 'SIGURG');
  isPrepared = true;
}

/** Does nothing where the thread has ended, or waits for nothing: whoever wants it to wake asks again. */
export function interruptThread(thread: number): void {
  tgkill_(process.pid, thread, SIGURG);
}

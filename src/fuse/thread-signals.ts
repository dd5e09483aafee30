/**
 * Whether a thread is about to die.
 *
 * The kernel sends FUSE_INTERRUPT for any signal, once for a request. A file on a disk does not break
 * off a read for a signal that the program handles, and programs rely on it: a page fault that ends in
 * EINTR is a SIGBUS, and some runtimes signal their own threads all the time. So a read is only given
 * up where its thread is going to die of the signal.
 */

import { readFileSync } from 'node:fs';

/**
 * True where the thread has a fatal signal pending, or exists no more.
 * @param tid thread id in this pid namespace; 0 (not visible here) counts as dying, because nobody
 * could tell later
 */
export function isDying(tid: number): boolean {
  if (tid === 0) return true;
  try {
    return hasFatalSignal(readFileSync(`/proc/${tid}/status`, 'latin1'));
  } catch {
    return true;
  }
}

/** Reads the signal masks of a /proc/<tid>/status text (proc(5)). */
export function hasFatalSignal(status: string): boolean {
  const pending = mask(status, 'SigPnd') | mask(status, 'ShdPnd');
  const harmless = mask(status, 'SigBlk') | mask(status, 'SigIgn') | mask(status, 'SigCgt');
  return (pending & sigkill) !== 0n || (pending & ~harmless & ~ignoredByDefault) !== 0n;
}

function mask(status: string, name: string): bigint {
  const digits = new RegExp(`^${name}:\\s*([0-9a-f]+)$`, 'm').exec(status)?.[1];
  return digits === undefined ? 0n : BigInt(`0x${digits}`);
}

const bit = (signal: number): bigint => 1n << BigInt(signal - 1);
const sigkill = bit(9);
/** SIGCHLD, SIGCONT, SIGURG, SIGWINCH, and those that stop: SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU. */
const ignoredByDefault = [17, 18, 23, 28, 19, 20, 21, 22].reduce((all, n) => all | bit(n), 0n);

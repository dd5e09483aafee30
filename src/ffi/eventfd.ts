/** eventfd(2): a counter that the kernel adds to and whoever reads it takes. */

import { readSync } from 'node:fs';
import { koffi } from './koffi.js';
import { systemCode } from '../common/errors.js';
import { SystemError } from './libc.js';

/** Of <sys/eventfd.h>, the same on every architecture Node runs on. */
const EFD_CLOEXEC = 0o2000000;
const EFD_NONBLOCK = 0o4000;

const eventfd_ = koffi.load(null).func('int eventfd(unsigned int initial, int flags)');

/** @returns a file descriptor; the caller closes it */
export function openCounter(): number {
  const fd = eventfd_(0, EFD_CLOEXEC | EFD_NONBLOCK) as number;
  if (fd < 0) throw new SystemError('eventfd', koffi.errno(), 'a counter');
  return fd;
}

/** What has been counted since the last call. */
export function takeCount(fd: number): number {
  const value = Buffer.alloc(8);
  try {
    readSync(fd, value);
  } catch (error) {
    if (systemCode(error) === 'EAGAIN') return 0;
    throw error;
  }
  const inOrder = new BigUint64Array(value.buffer, value.byteOffset, 1);
  return Number(inOrder[0]);
}

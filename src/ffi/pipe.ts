/** pipe2(2): Node's own pipes to children are sockets, which cannot be opened again by /dev/stdout. */

import { koffi } from './koffi.js';
import { SystemError } from './libc.js';

/** O_CLOEXEC of <fcntl.h>, the same on every architecture Node runs on. */
const O_CLOEXEC = 0o2000000;

const pipe2_ = koffi.load(null).func('int pipe2(_Out_ int *fds, int flags)');

export interface Pipe {
  /** File descriptors, closed on exec; the caller closes them. */
  read: number;
  write: number;
}

export function pipe(): Pipe {
  const fds = new Int32Array(2);
  if (pipe2_(fds, O_CLOEXEC) !== 0) throw new SystemError('pipe2', koffi.errno(), 'a pipe');
  const [read = -1, write = -1] = fds;
  return { read, write };
}

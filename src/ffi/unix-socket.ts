/** What Node cannot do with unix sockets (unix(7)): send datagrams, and listen for the processes after it. */

import { koffi } from './koffi.js';
import { SystemError } from './libc.js';

const process_ = koffi.load(null);
const socket_ = process_.func('int socket(int domain, int type, int protocol)');
const sendto_ = process_.func(
  'int64_t sendto(int fd, const void *bytes, size_t size, int flags, const void *address, uint32_t length)',
);
const bind_ = process_.func('int bind(int fd, const void *address, uint32_t length)');
const listen_ = process_.func('int listen(int fd, int backlog)');
const close_ = process_.func('int close(int fd)');

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MSG_NOSIGNAL = 0x4000;

/**
 * Sends one datagram.
 * @param address a path, or a name of the abstract namespace after `@`
 * @throws SystemError
 */
export function sendDatagram(address: string, text: string): void {
  const bytes = Buffer.from(text);
  const to = socketAddress(address);
  const fd = Number(socket_(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (fd < 0) throw new SystemError('socket', koffi.errno(), address);
  try {
    const sent = Number(sendto_(fd, bytes, bytes.length, MSG_NOSIGNAL, to, to.length));
    if (sent < 0) throw new SystemError('sendto', koffi.errno(), address);
  } finally {
    close_(fd);
  }
}

/**
 * Listens on a path where nothing is yet.
 * @param backlog clients that may wait to be accepted
 * @returns the socket's descriptor; close-on-exec
 * @throws SystemError
 */
export function listenAt(path: string, backlog: number): number {
  const address = socketAddress(path);
  const fd = Number(socket_(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (fd < 0) throw new SystemError('socket', koffi.errno(), path);
  try {
    if (bind_(fd, address, address.length) !== 0)
      throw new SystemError('bind', koffi.errno(), path);
    if (listen_(fd, backlog) !== 0) throw new SystemError('listen', koffi.errno(), path);
    return fd;
  } catch (error) {
    close_(fd);
    throw error;
  }
}

/** struct sockaddr_un: the family, then the path with its NUL, or a NUL and the abstract name. */
function socketAddress(address: string): Buffer {
  const path = address.startsWith('@') ? `\0${address.slice(1)}` : `${address}\0`;
  const family = Buffer.alloc(2);
  family.writeUInt16LE(AF_UNIX);
  return Buffer.concat([family, Buffer.from(path)]);
}

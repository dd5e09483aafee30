/** Datagrams to a unix socket (unix(7)), which Node does not have. */

import koffi from 'koffi';
import { SystemError } from './libc.js';

const process_ = koffi.load(null);
const socket_ = process_.func('int socket(int domain, int type, int protocol)');
const sendto_ = process_.func(
  'int64_t sendto(int fd, const void *bytes, size_t size, int flags, const void *address, uint32_t length)',
);
const close_ = process_.func('int close(int fd)');

const AF_UNIX = 1;
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

/** struct sockaddr_un: the family, then the path with its NUL, or a NUL and the abstract name. */
function socketAddress(address: string): Buffer {
  const path = address.startsWith('@') ? `\0${address.slice(1)}` : `${address}\0`;
  const family = Buffer.alloc(2);
  family.writeUInt16LE(AF_UNIX);
  return Buffer.concat([family, Buffer.from(path)]);
}

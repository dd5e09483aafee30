/** The first exchange on a connection: `fuse_init_in` and `fuse_init_out` of <linux/fuse.h>. */

import { ProtocolError, type Request, requestHeaderSize } from './request.js';
import { opcode } from './opcodes.js';
import { replyHeaderSize } from './reply.js';

/** Bits of the `flags` word. */
const flag = {
  ASYNC_READ: 1 << 0,
  EXPORT_SUPPORT: 1 << 4,
  DO_READDIRPLUS: 1 << 13,
  NO_OPEN_SUPPORT: 1 << 17,
  PARALLEL_DIROPS: 1 << 18,
  MAX_PAGES: 1 << 22,
  CACHE_SYMLINKS: 1 << 23,
  NO_OPENDIR_SUPPORT: 1 << 24,
  INIT_EXT: 1 << 30,
} as const;

/**
 * Bits of the `flags2` word (bit 32 of the protocol is bit 0 here). FUSE_ALLOW_IDMAP (Linux 6.12) lets a
 * copy of the mount show other owners, which containers in user namespaces need.
 */
const flag2 = { HAS_RESEND: 1 << 7, ALLOW_IDMAP: 1 << 8 } as const;

const protocolMajor = 7;
/** The version whose meaning is implemented here: the one that brought FUSE_NOTIFY_RESEND. */
const protocolMinor = 40;
/** The version that brought `max_pages` (Linux 4.20). */
const oldestMinor = 28;

const initReplySize = replyHeaderSize + 64;

/** What the kernel and this program agreed on; stays true for the life of the mount. */
export interface Agreement {
  /** The kernel's protocol version, after the `7.`. */
  kernelMinor: number;
  /** Bytes of the largest read. */
  maxRead: number;
  /** OPEN and OPENDIR may be answered ENOSYS, once and for all. */
  noOpen: boolean;
  noOpendir: boolean;
  /** FUSE_NOTIFY_RESEND works. */
  resend: boolean;
  /**
   * No file has an extended attribute. GETXATTR is answered ENOSYS, so that the kernel asks for none on this connection
   * any more, but gives EOPNOTSUPP; of a file it would not remember that an attribute is not there.
   */
  noXattrs: boolean;
}

/** What is not for the kernel to say. */
export interface NegotiateOptions {
  /** As on a kernel that lacks FUSE_NOTIFY_RESEND. */
  withoutResend?: boolean;
  noXattrs?: boolean;
}

/**
 * Readahead counts as background work, and a dead registry must not hold up reads of what is here;
 * so there may be as many background requests as anybody ever has.
 */
const maxBackground = 4096;

/** Pages of the largest read: the kernel's own limit (fs.fuse.max_pages_limit). */
const maxPages = 256;
const pageSize = 4096;

/**
 * Not asked for: ASYNC_DIO, with which a direct read waits where no signal reaches it, until its
 * deadline.
 */
const wanted =
  flag.ASYNC_READ |
  flag.EXPORT_SUPPORT |
  flag.DO_READDIRPLUS |
  flag.NO_OPEN_SUPPORT |
  flag.PARALLEL_DIROPS |
  flag.MAX_PAGES |
  flag.CACHE_SYMLINKS |
  flag.NO_OPENDIR_SUPPORT |
  flag.INIT_EXT;

/**
 * Reads an INIT request and gives the answer to write.
 * @throws ProtocolError where the request is none, or of a version that cannot be served
 */
export function negotiate(
  request: Request,
  options: NegotiateOptions = {},
): { agreement: Agreement; reply: Buffer } {
  if (request.opcode !== opcode.INIT) {
    throw new ProtocolError(
      `Cannot begin FUSE connection: the first opcode is ${request.opcode}, expected INIT`,
    );
  }
  const major = request.u32(0);
  const kernelMinor = request.u32(4);
  if (major !== protocolMajor || kernelMinor < oldestMinor) {
    throw new ProtocolError(
      `Cannot begin FUSE connection: the kernel speaks ${major}.${kernelMinor}, expected ${protocolMajor}.${oldestMinor} or later`,
    );
  }
  const offered = request.u32(12);
  const offered2 =
    (offered & flag.INIT_EXT) !== 0 && request.length >= requestHeaderSize + 20
      ? request.u32(16)
      : 0;
  const resend = options.withoutResend === true ? 0 : offered2 & flag2.HAS_RESEND;
  // Nothing is ever made or owned through the mount, so that whoever asks does not matter.
  const idmap = offered2 & flag2.ALLOW_IDMAP;
  const agreement: Agreement = {
    kernelMinor,
    maxRead: maxPages * pageSize,
    noOpen: (offered & flag.NO_OPEN_SUPPORT) !== 0,
    noOpendir: (offered & flag.NO_OPENDIR_SUPPORT) !== 0,
    resend: resend !== 0,
    noXattrs: options.noXattrs === true,
  };
  const agreed = { flags: offered & wanted, flags2: resend | idmap };
  return { agreement, reply: initReply(request, agreed) };
}

function initReply(request: Request, agreed: { flags: number; flags2: number }): Buffer {
  const reply = Buffer.alloc(initReplySize);
  reply.writeUInt32LE(initReplySize, 0);
  reply.writeUInt32LE(request.uniqueLow, 8);
  reply.writeUInt32LE(request.uniqueHigh, 12);
  let at = replyHeaderSize;
  at = reply.writeUInt32LE(protocolMajor, at);
  at = reply.writeUInt32LE(protocolMinor, at);
  at = reply.writeUInt32LE(request.u32(8), at); // max_readahead: as offered
  at = reply.writeInt32LE(agreed.flags, at);
  at = reply.writeUInt16LE(maxBackground, at);
  at = reply.writeUInt16LE(maxBackground, at); // congestion_threshold
  at = reply.writeUInt32LE(pageSize, at); // max_write: the least, for nothing is written
  at = reply.writeUInt32LE(1, at); // time_gran: nanoseconds
  at = reply.writeUInt16LE(maxPages, at);
  at = reply.writeUInt16LE(0, at); // map_alignment
  reply.writeInt32LE(agreed.flags2, at);
  return reply;
}

/** Messages to the kernel that answer nothing: `enum fuse_notify_code` of <linux/fuse.h>. */

import { replyHeaderSize } from './reply.js';

const code = { INVAL_INODE: 2, INVAL_ENTRY: 3, RESEND: 7 } as const;

/** The root directory's node id. */
const rootNodeId = 1;

/** The root directory's attributes and cached listing are no longer true. */
export function rootChanged(): Buffer {
  const message = notification(code.INVAL_INODE, 24);
  message.writeUInt32LE(rootNodeId, replyHeaderSize);
  return message; // offset 0, length 0: everything
}

/** The name in the root directory no longer stands for what it did. */
export function rootEntryChanged(name: string): Buffer {
  const bytes = Buffer.from(`${name}\0`);
  const message = notification(code.INVAL_ENTRY, 16 + bytes.length);
  message.writeUInt32LE(rootNodeId, replyHeaderSize);
  message.writeUInt32LE(bytes.length - 1, replyHeaderSize + 8);
  bytes.copy(message, replyHeaderSize + 16);
  return message;
}

/** Asks for every request again that was read and never answered. */
export function resend(): Buffer {
  return notification(code.RESEND, 0);
}

function notification(kind: number, size: number): Buffer {
  const message = Buffer.alloc(replyHeaderSize + size);
  message.writeUInt32LE(message.length, 0);
  message.writeInt32LE(kind, 4);
  return message;
}

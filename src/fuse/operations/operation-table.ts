/** From opcode to what is done about it. */

import { opcode, opcodeLimit } from '../protocol/opcodes.js';
import { uniqueKey } from '../protocol/request.js';
import { getattr, lookup, readlink, statfs } from './attributes.js';
import { lseek, read } from './contents.js';
import { readdir, readdirplus } from './directories.js';
import { getxattr, listxattr } from './extended-attributes.js';
import { NO_REPLY, type Operation, errno } from './operation.js';

/** Of FOPEN_* in <linux/fuse.h>. */
const FOPEN_KEEP_CACHE = 1 << 1;
const FOPEN_CACHE_DIR = 1 << 3;

/** ENOSYS makes the kernel open files without asking, from then on. */
const open: Operation = ({ agreement }, _, reply) => {
  if (agreement.noOpen) return errno.ENOSYS;
  reply.opened(FOPEN_KEEP_CACHE);
  return 0;
};

const opendir: Operation = ({ agreement }, _, reply) => {
  if (agreement.noOpendir) return errno.ENOSYS;
  reply.opened(FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR);
  return 0;
};

const succeed: Operation = () => 0;
/** Node ids are computed, never handed out, so there is nothing to forget. */
const forget: Operation = () => NO_REPLY;
const readOnly: Operation = () => errno.EROFS;
const unknown: Operation = () => errno.ENOSYS;

const interrupt: Operation = (serving, request) => {
  serving.interrupt(uniqueKey(request.u32(0), request.u32(4)));
  return NO_REPLY;
};

const operations: readonly (readonly [number, Operation])[] = [
  [opcode.LOOKUP, lookup],
  [opcode.GETATTR, getattr],
  [opcode.READLINK, readlink],
  [opcode.STATFS, statfs],
  [opcode.READ, read],
  [opcode.LSEEK, lseek],
  [opcode.READDIR, readdir],
  [opcode.READDIRPLUS, readdirplus],
  [opcode.GETXATTR, getxattr],
  [opcode.LISTXATTR, listxattr],
  [opcode.OPEN, open],
  [opcode.OPENDIR, opendir],
  [opcode.RELEASE, succeed],
  [opcode.RELEASEDIR, succeed],
  [opcode.DESTROY, succeed],
  [opcode.FORGET, forget],
  [opcode.BATCH_FORGET, forget],
  [opcode.INTERRUPT, interrupt],
  [opcode.SETATTR, readOnly],
  [opcode.SYMLINK, readOnly],
  [opcode.MKNOD, readOnly],
  [opcode.MKDIR, readOnly],
  [opcode.UNLINK, readOnly],
  [opcode.RMDIR, readOnly],
  [opcode.RENAME, readOnly],
  [opcode.RENAME2, readOnly],
  [opcode.LINK, readOnly],
  [opcode.WRITE, readOnly],
  [opcode.SETXATTR, readOnly],
  [opcode.REMOVEXATTR, readOnly],
  [opcode.CREATE, readOnly],
  [opcode.TMPFILE, readOnly],
  [opcode.FALLOCATE, readOnly],
  [opcode.COPY_FILE_RANGE, readOnly],
];

const table: readonly Operation[] = tableOf(operations);

/** What answers `opcode`; ENOSYS for what is not known. */
export function operationFor(number: number): Operation {
  return table[number] ?? unknown;
}

function tableOf(pairs: readonly (readonly [number, Operation])[]): Operation[] {
  const all = Array.from<Operation>({ length: opcodeLimit }).fill(unknown);
  for (const [number, operation] of pairs) all[number] = operation;
  return all;
}

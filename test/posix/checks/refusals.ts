/** Whatever would change something is refused, with the error that a read-only mount gives. */

import {
  chmodSync,
  chownSync,
  constants,
  ftruncateSync,
  lchownSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  openSync,
  renameSync,
  rmdirSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { type Check, outcome } from '../check.js';
import { makeNode, removeXattr, setXattr } from '../syscalls.js';

const { O_CREAT, O_EXCL, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY, O_APPEND, S_IFREG, S_IFCHR } =
  constants;
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;

function open(path: string, flags: number): string {
  return openSync(path, flags, 0o644) > 0 ? 'opened' : '';
}

const writes: Record<string, (root: string) => unknown> = {
  'open to write': (root) => open(join(root, 'contents/tiny'), O_WRONLY),
  'open to read and write': (root) => open(join(root, 'contents/tiny'), O_RDWR),
  'open to append': (root) => open(join(root, 'contents/tiny'), O_WRONLY | O_APPEND),
  'open and truncate': (root) => open(join(root, 'contents/tiny'), O_RDONLY | O_TRUNC),
  create: (root) => open(join(root, 'new'), O_CREAT | O_WRONLY),
  'create without name': (root) => open(root, O_TMPFILE | O_RDWR),
  truncate: (root) => truncateSync(join(root, 'contents/tiny'), 1),
  mkdir: (root) => mkdirSync(join(root, 'new')),
  'mknod of a file': (root) => makeNode(join(root, 'new'), S_IFREG | 0o644, 0),
  'mknod of a device': (root) => makeNode(join(root, 'new'), S_IFCHR | 0o644, 0x105),
  symlink: (root) => symlinkSync('target', join(root, 'new')),
  link: (root) => linkSync(join(root, 'contents/tiny'), join(root, 'new')),
  unlink: (root) => unlinkSync(join(root, 'contents/tiny')),
  rmdir: (root) => rmdirSync(join(root, 'links/parent/a')),
  'rename a file': (root) => renameSync(join(root, 'contents/tiny'), join(root, 'new')),
  'rename a folder': (root) => renameSync(join(root, 'links/parent'), join(root, 'links/moved')),
  chmod: (root) => chmodSync(join(root, 'contents/tiny'), 0o600),
  chown: (root) => chownSync(join(root, 'contents/tiny'), 1, 1),
  'chown of a symlink': (root) => lchownSync(join(root, 'links/symlink'), 1, 1),
  utimes: (root) => utimesSync(join(root, 'contents/tiny'), 1, 1),
  'utimes of a symlink': (root) => lutimesSync(join(root, 'links/symlink'), 1, 1),
  'set an xattr': (root) => setXattr(join(root, 'contents/tiny'), 'user.new', Buffer.from('x')),
  'remove an xattr': (root) => removeXattr(join(root, 'attributes/precise'), 'user.text'),
};

/** What fails for another reason, read-only or not. */
const others: Record<string, (root: string) => unknown> = {
  'create what is there': (root) => open(join(root, 'contents/tiny'), O_CREAT | O_EXCL | O_WRONLY),
  'open what is there, or create it': (root) =>
    open(join(root, 'contents/tiny'), O_CREAT | O_RDONLY),
  'mkdir of what is there': (root) => mkdirSync(join(root, 'contents')),
  'unlink what is not there': (root) => unlinkSync(join(root, 'absent')),
  'create below what is not there': (root) => open(join(root, 'absent/new'), O_CREAT | O_WRONLY),
  'write to a descriptor that reads': (root) =>
    writeSync(openSync(join(root, 'contents/tiny'), 'r'), 'x'),
  'truncate a descriptor that reads': (root) =>
    ftruncateSync(openSync(join(root, 'contents/tiny'), 'r'), 1),
};

export const refusalChecks: readonly Check[] = [
  ...Object.entries(writes).map(([name, write]) => ({
    name: `${name}: EROFS`,
    observe: (root: string) => outcome(() => write(root)),
    expected: 'EROFS',
  })),
  ...Object.entries(others).map(([name, call]) => ({
    name,
    observe: (root: string) => outcome(() => call(root)),
  })),
];

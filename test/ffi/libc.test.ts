import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { UndoStack } from '#src/common/undo-stack.js';
import { FileSystemSync, syncFileSystem, willNeed } from '#src/ffi/libc.js';

it('willNeed says what is wrong with a descriptor', () => {
  const file = openSync(import.meta.filename, 'r');
  expect(() => willNeed(file, 0, 2 ** 40)).not.toThrow();
  closeSync(file);
  expect(() => willNeed(-1, 0, 4096)).toThrow('EBADF: posix_fadvise -1');
});

const canMount = process.geteuid?.() === 0 && existsSync('/dev/loop-control');

it.skipIf(!canMount)(
  `FileSystemSync fails where what was written is not on disk, though others were told${canMount ? '' : ' (needs root and loop devices)'}`,
  async () => {
    await using undo = new UndoStack();
    const folder = mkdtempSync(join(tmpdir(), 'siphon-sync-'));
    undo.defer(() => rmSync(folder, { recursive: true }));
    const [small, target] = [join(folder, 'small'), join(folder, 'target')];
    const mount = (path: string, ...args: string[]): void => {
      mkdirSync(path);
      execFileSync('mount', [...args, path]);
      undo.defer(() => void execFileSync('umount', [path]));
    };
    mount(small, '-t', 'tmpfs', '-o', 'size=8m', 'none');
    const image = join(small, 'image');
    execFileSync('truncate', ['-s', '64m', image]);
    execFileSync('mkfs.ext4', ['-q', '-O', '^has_journal', image]);
    mount(target, '-o', 'loop', image);
    using disk = new FileSystemSync(target);
    await disk.run();
    writeFileSync(join(target, 'file'), randomBytes(16 << 20));
    await expect(syncFileSystem(target)).rejects.toThrow('EIO: syncfs');
    // What failed before is no concern of one that is opened now.
    await syncFileSystem(target);
    await expect(disk.run()).rejects.toThrow('EIO: syncfs');
  },
);

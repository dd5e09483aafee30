/** Programs that people point at folders. */

import { closeSync, mkdtempSync, readFileSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { must } from '../../support/sandbox.js';
import { readTree } from '../../support/tree.js';
import { type Check, outcome } from '../check.js';
import { watchByFanotify, watchByInotify } from '../syscalls.js';

function inProject(script: string): (root: string) => Promise<string> {
  return (root) => must('bash', '-c', `cd "$1/project" && { ${script}; }`, 'bash', root);
}

async function inNewFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'siphon-posix-'));
  try {
    return await use(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Whether events arrive while a folder is listed and a file of it is read. */
function watched(root: string, watch: (path: string) => number): unknown {
  const fd = outcome(() => watch(join(root, 'project')));
  if (typeof fd === 'string') return fd;
  try {
    readFileSync(join(root, 'project/src/run'));
    readFileSync(join(root, 'project/docs/zeros'));
    return readSync(fd, Buffer.alloc(4096)) > 0;
  } finally {
    closeSync(fd);
  }
}

const git = 'git -c safe.directory="*" -c core.fsmonitor=false';

export const programChecks: readonly Check[] = [
  {
    name: 'find',
    observe: inProject(
      String.raw`find . -printf '%p %y %m %U %G %l %T@ ' \( -type d -printf '\n' -o -printf '%s %n\n' \) | sort`,
    ),
  },
  {
    name: 'tar packs the same archive',
    observe: inProject(
      'tar --sort=name --format=pax --pax-option=delete=atime,delete=ctime,exthdr.name=%d/%f --xattrs -c . | sha256sum',
    ),
  },
  {
    name: 'rsync copies all of it',
    observe: (root) =>
      inNewFolder(async (folder) => {
        await must('rsync', '-aHAX', `${root}/project/`, `${folder}/`);
        return readTree(folder);
      }),
  },
  {
    name: 'cp -a --sparse copies all of it',
    observe: (root) =>
      inNewFolder(async (folder) => {
        await must('cp', '-a', '--sparse=always', `${root}/project/.`, folder);
        return readTree(folder);
      }),
  },
  { name: 'git status', observe: inProject(`${git} status --porcelain`) },
  { name: 'git fsck', observe: inProject(`${git} fsck --full && ${git} log --oneline`) },
  { name: 'du', observe: inProject('du --apparent-size --inodes -s .') },
  {
    name: 'inotify tells of reads',
    observe: (root) => watched(root, (path) => watchByInotify(join(path, 'docs'))),
    expected: true,
  },
  {
    name: 'fanotify tells of reads in the mount',
    observe: (root) => watched(root, watchByFanotify),
    expected: true,
  },
];

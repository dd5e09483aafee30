/** Look-up and listing. */

import {
  closeSync,
  lstatSync,
  openSync,
  readSync,
  readdirSync,
  constants,
  statSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { type Check, outcome } from '../check.js';
import { type DirectoryEntry, readDirectory, seek, tell } from '../syscalls.js';
import { manyFiles } from '../sample.js';

const smallBuffer = 1024;

function withFolder<T>(path: string | Buffer, use: (fd: number) => T): T {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    return use(fd);
  } finally {
    closeSync(fd);
  }
}

function listAll(fd: number, size = smallBuffer): DirectoryEntry[] {
  const entries: DirectoryEntry[] = [];
  for (;;) {
    const some = readDirectory(fd, size);
    if (some.length === 0) return entries;
    entries.push(...some);
  }
}

function namesOf(entries: readonly DirectoryEntry[]): string[] {
  return entries.map(({ name }) => name);
}

/** What each offset of a listing leads to, read from a descriptor of its own each time. */
function followOffsets(path: string, entries: readonly DirectoryEntry[]): (string | undefined)[] {
  return entries.map(({ offset }) =>
    withFolder(path, (fd) => {
      seek(fd, offset);
      return readDirectory(fd)[0]?.name;
    }),
  );
}

export const directoryChecks: readonly Check[] = [
  {
    name: 'look-up finds what is there, by its exact name, and nothing else',
    observe: (root) =>
      [
        'names/a/b/c/d/e/f/g/leaf',
        'names/a/b/../b/./c',
        'names/Case',
        'names/CASE',
        'names/absent',
        'names/absent/below',
        'names/Case/below',
        'names/Case/',
        'names/ünï',
        `names/${'n'.repeat(255)}`,
        `names/${'n'.repeat(256)}`,
        `names/${'x/'.repeat(2100)}`,
        'links/symlink',
        'links/dangling',
        'links/loop',
        'links/loop/below',
      ].map((path) => outcome(() => typeOf(statSync(join(root, path)).mode))),
  },
  {
    name: 'names that are not UTF-8 are kept byte for byte',
    observe: (root) => {
      const folder = Buffer.from(`${root}/bytes`);
      const inside = Buffer.concat([folder, Buffer.from('/caf\xe9/\xe9t\xe9', 'latin1')]);
      const listed = readdirSync(folder, 'buffer').map((name) => name.toString('latin1'));
      return [listed.sort(), outcome(() => lstatSync(inside).size)];
    },
    exceptions: { libfuse: 'fuse-native hands names over as UTF-8' },
  },
  {
    name: 'readdir lists every name once, with its type',
    observe: (root) =>
      withFolder(join(root, 'many'), (fd) =>
        listAll(fd)
          .map(({ name, type }) => `${name} ${type}`)
          .sort(),
      ),
  },
  {
    name: 'readdir lists . and .. once',
    observe: (root) => withFolder(join(root, 'names/a'), (fd) => namesOf(listAll(fd)).sort()),
    expected: ['.', '..', 'b'],
  },
  {
    name: 'readdir says the inode numbers that stat says, of . and .. too',
    observe: (root) => {
      const path = join(root, 'names/a/b');
      const entries = withFolder(path, (fd) => listAll(fd));
      return entries.filter(
        ({ name, ino }) => lstatSync(join(path, name), { bigint: true }).ino !== ino,
      );
    },
    expected: [],
  },
  {
    name: 'each offset of a listing leads to the entry after it, also from another descriptor',
    observe: (root) => {
      const path = join(root, 'many');
      const entries = withFolder(path, (fd) => listAll(fd));
      const next = [...namesOf(entries).slice(1), undefined];
      const led = followOffsets(path, entries);
      return entries.filter((_, at) => led[at] !== next[at]).length;
    },
    expected: 0,
  },
  {
    name: 'a descriptor can be sought back and forth, and rewound',
    observe: (root) =>
      withFolder(join(root, 'many'), (fd) => {
        const first = listAll(fd);
        const middle = first[300];
        seek(fd, middle?.offset ?? 0n);
        const rest = namesOf(listAll(fd));
        seek(fd, 0);
        const again = listAll(fd, 16_384);
        return [
          first.length,
          rest.join() === namesOf(first.slice(301)).join(),
          namesOf(again).join() === namesOf(first).join(),
          again.every(({ offset }, at) => offset === first[at]?.offset),
          readDirectory(fd).length,
        ];
      }),
    expected: [manyFiles + 4, true, true, true, 0],
  },
  {
    name: 'telldir says where the listing is',
    observe: (root) =>
      withFolder(join(root, 'many'), (fd) => {
        const last = readDirectory(fd, smallBuffer).at(-1);
        return tell(fd) === last?.offset;
      }),
    expected: true,
  },
  {
    name: 'a buffer without room for an entry is refused',
    observe: (root) => withFolder(join(root, 'many'), (fd) => outcome(() => readDirectory(fd, 8))),
    expected: 'EINVAL',
  },
  {
    name: 'folders are no files, and files no folders',
    observe: (root) => [
      outcome(() => withFolder(join(root, 'names/Case'), () => 'opened')),
      withFolder(join(root, 'names'), (fd) => outcome(() => readSync(fd, Buffer.alloc(10)))),
      outcome(() => openSync(join(root, 'names'), constants.O_WRONLY)),
      outcome(() => readDirectory(openSync(join(root, 'names/Case'), 'r'))),
    ],
  },
  {
    name: '.. leads up, out of the mount as well',
    observe: (root) =>
      [
        ['names/a/b/..', 'names/a'],
        ['names/..', '.'],
        ['..', dirname(root)],
      ].map(([one = '', other = '']) => {
        const [a, b] = [
          statSync(join(root) + '/' + one),
          statSync(other.startsWith('/') ? other : join(root, other)),
        ];
        return a.dev === b.dev && a.ino === b.ino;
      }),
    expected: [true, true, true],
  },
];

function typeOf(mode: number): string {
  return (mode & constants.S_IFMT).toString(8);
}

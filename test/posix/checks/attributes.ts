/** What is known of files: attributes, extended attributes, who may do what, the file system. */

import { type BigIntStats, lstatSync, readdirSync, readlinkSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../support/sandbox.js';
import { type Check, outcome } from '../check.js';
import { getXattr, listXattrs } from '../syscalls.js';

function stat(root: string, path: string): BigIntStats {
  return lstatSync(join(root, path), { bigint: true });
}

function describe(root: string, path: string): string {
  const { mode, uid, gid, size, rdev } = stat(root, path);
  const isFolder = (mode & 0o170000n) === 0o040000n;
  return [path, mode.toString(8), uid, gid, isFolder ? '' : size, rdev].join(' ');
}

/** Names in a folder, in order. */
function below(root: string, folder: string): string[] {
  return readdirSync(join(root, folder))
    .sort()
    .map((name) => `${folder}/${name}`);
}

async function asNobody(root: string, script: string, groups = '--clear-groups'): Promise<string> {
  const args = [
    '--reuid',
    '65534',
    '--regid',
    '65534',
    groups,
    'sh',
    '-c',
    `cd "$1/access"; ${script}`,
    'sh',
    root,
  ];
  const { stdout, stderr } = await run('setpriv', args);
  return `${stdout}${stderr}`.replaceAll(/^sh: \d+: /gm, '');
}

const namesOf = (list: Buffer): string[] =>
  list
    .toString('latin1')
    .split('\0')
    .filter((name) => name !== '')
    .sort();

export const attributeChecks: readonly Check[] = [
  {
    name: 'types, modes, owners, sizes and device numbers',
    observe: (root) =>
      ['.', ...below(root, 'attributes'), ...below(root, 'links'), ...below(root, 'access')].map(
        (path) => describe(root, path),
      ),
  },
  {
    name: 'modification times to the nanosecond, before 1970 and after 2038',
    observe: (root) =>
      below(root, 'attributes').map((path) => `${path} ${stat(root, path).mtimeNs}`),
    exceptions: { libfuse: 'fuse-native takes times in milliseconds since 1970' },
  },
  {
    name: 'modification times to the second',
    observe: (root) => below(root, 'project').map((path) => `${path} ${stat(root, path).mtimeNs}`),
  },
  {
    name: 'hard links share an inode, which says how many they are',
    observe: (root) => {
      const [first, second, third, alone] = ['first', 'second', 'below/third', 'alone'].map(
        (name) => stat(root, `links/${name}`),
      );
      const same = first?.ino === second?.ino && second?.ino === third?.ino;
      return [same, first?.ino === alone?.ino, first?.nlink, third?.nlink, alone?.nlink];
    },
    expected: [true, false, 3n, 3n, 1n],
  },
  {
    name: 'link counts of folders tell how many are below',
    observe: (root) =>
      ['links/parent', 'links/parent/a', 'names/a'].map((path) => stat(root, path).nlink),
  },
  {
    name: 'inode numbers are not shared, and stay',
    observe: (root) => {
      const inodes = (): bigint[] => below(root, 'many').map((path) => stat(root, path).ino);
      const [once, again] = [inodes(), inodes()];
      return [new Set(once).size === once.length, once.join() === again.join()];
    },
    expected: [true, true],
  },
  {
    name: 'symlinks say their target, other files that they are none',
    observe: (root) =>
      ['links/symlink', 'links/dangling', 'links/loop', 'links/alone', 'links'].map((path) =>
        outcome(() => readlinkSync(join(root, path))),
      ),
  },
  {
    name: 'sizes and values of extended attributes',
    observe: (root) => {
      const path = join(root, 'attributes/precise');
      return ['user.text', 'user.binary', 'user.empty', 'security.capability'].map((name) => {
        const { length } = getXattr(path, name, 0);
        const { bytes } = getXattr(path, name, 100);
        return `${name} ${length} ${bytes.toString('hex')}`;
      });
    },
  },
  {
    name: 'an extended attribute fits exactly, or is refused',
    observe: (root) => {
      const path = join(root, 'attributes/precise');
      return [5, 4, 1].map((size) =>
        outcome(() => getXattr(path, 'user.text', size).bytes.toString()),
      );
    },
    expected: ['value', 'ERANGE', 'ERANGE'],
  },
  {
    name: 'absent extended attributes are told',
    observe: (root) =>
      [
        'attributes/precise',
        'attributes/setid',
        'attributes/sticky',
        'attributes/symlink',
        'many',
      ].map((path) =>
        [0, 100].map((size) => outcome(() => getXattr(join(root, path), 'trusted.none', size))),
      ),
    expected: Array.from({ length: 5 }, () => ['ENODATA', 'ENODATA']),
  },
  {
    name: 'lists of extended attributes, of folders and symlinks too',
    observe: (root) =>
      ['precise', 'setid', 'sticky', 'symlink'].map((name) => {
        const path = join(root, 'attributes', name);
        const { length } = listXattrs(path, 0);
        return [length, namesOf(listXattrs(path, 1000).bytes)];
      }),
  },
  {
    name: 'a list of extended attributes fits exactly, or is refused',
    observe: (root) => {
      const path = join(root, 'attributes/precise');
      const { length } = listXattrs(path, 0);
      return [length, length - 1, 1].map((size) =>
        outcome(() => listXattrs(path, size).length === length),
      );
    },
    expected: [true, 'ERANGE', 'ERANGE'],
  },
  {
    name: 'whoever is not the owner may do what the mode allows',
    observe: (root) =>
      asNobody(
        root,
        `cat open; cat secret; cat owned; ls closed; cat closed/inside; ls searchable; cat searchable/inside; cat group/inside
        for f in open secret owned closed searchable group; do for t in r w x; do test -$t $f && echo $f $t; done; done`,
      ),
    exceptions: { libfuse: 'the kernel lets only the user who mounted look into it' },
  },
  {
    name: 'supplementary groups count',
    observe: (root) => asNobody(root, 'cat group/inside', '--groups=4321'),
    exceptions: { libfuse: 'the kernel lets only the user who mounted look into it' },
  },
  {
    name: 'statfs shows the file system that siphon keeps its data on',
    observe: (root) => {
      const { bsize, blocks, files, bavail } = statfsSync(root);
      return [bsize, blocks, files, bavail > blocks / 100, bavail < blocks];
    },
  },
];

import { parseGroup, parsePasswd } from '#src/exec/accounts.js';
import { readAccountFiles, resolveUser } from '#src/exec/user-lookup.js';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const files = {
  passwd: parsePasswd(
    'root:x:0:0::/root:/bin/sh\nann:x:1000:1001::/home/ann:/bin/sh\n1234:x:77:78::/odd:/bin/sh\n',
  ),
  group: parseGroup('root:x:0:\nwheel:x:10:root,ann\nann:x:1001:\naudio:x:29:ann\nstaff:x:50:\n'),
};
const none = { passwd: [], group: [] };

test.each([
  ['', files, { uid: 0, gid: 0, additionalGids: [0, 10], home: '/root' }],
  ['root', files, { uid: 0, gid: 0, additionalGids: [0, 10], home: '/root' }],
  ['ann', files, { uid: 1000, gid: 1001, additionalGids: [1001, 10, 29], home: '/home/ann' }],
  ['1000', files, { uid: 1000, gid: 1001, additionalGids: [1001, 10, 29], home: '/home/ann' }],
  ['ann:', files, { uid: 1000, gid: 1001, additionalGids: [1001, 10, 29], home: '/home/ann' }],
  ['ann:staff', files, { uid: 1000, gid: 50, additionalGids: [50], home: '/home/ann' }],
  ['ann:50', files, { uid: 1000, gid: 50, additionalGids: [50], home: '/home/ann' }],
  ['1000:9999', files, { uid: 1000, gid: 9999, additionalGids: [9999], home: '/home/ann' }],
  [':staff', files, { uid: 0, gid: 50, additionalGids: [50], home: '/root' }],
  ['4242', files, { uid: 4242, gid: 0, additionalGids: [0], home: '/' }],
  ['1234', files, { uid: 1234, gid: 0, additionalGids: [0], home: '/' }],
  ['', none, { uid: 0, gid: 0, additionalGids: [0], home: '/' }],
  ['12:34', none, { uid: 12, gid: 34, additionalGids: [34], home: '/' }],
])('resolveUser %j', (user, accounts, expected) => {
  expect(resolveUser(user, accounts)).toEqual(expected);
});

test.each([
  ['bob', /Cannot run as user "bob": .*\/etc\/passwd/],
  ['ann:bobs', /Cannot run as group "bobs": .*\/etc\/group/],
  ['99999999999', /Cannot run as user "99999999999": the number is too large/],
  ['0:4294967295', /Cannot run as group "4294967295": the number is too large/],
])('resolveUser refuses %j', (user, message) => {
  expect(() => resolveUser(user, files)).toThrow(
    expect.objectContaining({
      code: 'invalid',
      message: expect.stringMatching(message) as unknown,
    }),
  );
});

test('readAccountFiles stays inside the root filesystem', async () => {
  const rootfs = await mkdtemp(join(tmpdir(), 'siphon-users-'));
  try {
    expect(await readAccountFiles(rootfs)).toEqual(none);
    await mkdir(join(rootfs, 'etc'));
    await mkdir(join(rootfs, 'real'));
    await writeFile(join(rootfs, 'real/passwd'), 'inner:x:5:6::/inner:\n');
    await symlink('/real/passwd', join(rootfs, 'etc/passwd'));
    await symlink('../../../../../../etc/hostname', join(rootfs, 'etc/group'));
    const read = await readAccountFiles(rootfs);
    expect(read.passwd).toEqual([{ name: 'inner', uid: 5, gid: 6, home: '/inner' }]);
    expect(read.group).toEqual([]);
  } finally {
    await rm(rootfs, { recursive: true });
  }
});

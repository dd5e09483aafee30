import { parseGroup, parseId, parsePasswd } from '#src/exec/accounts.js';
import { expect, test } from 'vitest';

test('parsePasswd takes accounts and passes over what is none', () => {
  const text = [
    'root:x:0:0:root:/root:/bin/sh',
    '',
    '# a comment',
    'short:x:1',
    'nan:x:one:1::/:',
    ':x:5:5::/:',
    'huge:x:4294967296:1::/:',
    'ann:x:1000:1001:Ann,Room 1:/home/ann:/bin/sh',
    'bare:x:7:8',
  ].join('\n');
  expect(parsePasswd(text)).toEqual([
    { name: 'root', uid: 0, gid: 0, home: '/root' },
    { name: 'ann', uid: 1000, gid: 1001, home: '/home/ann' },
    { name: 'bare', uid: 7, gid: 8, home: '' },
  ]);
});

test('parseGroup splits members', () => {
  expect(parseGroup('wheel:x:10:root,ann,\nempty:x:11:\nnone:x:12\nbad:x:-1:\n')).toEqual([
    { name: 'wheel', gid: 10, members: ['root', 'ann'] },
    { name: 'empty', gid: 11, members: [] },
    { name: 'none', gid: 12, members: [] },
  ]);
});

test.each([
  ['0', 0],
  ['2147483647', 2147483647],
  ['2147483648', undefined],
  ['-1', undefined],
  ['1e3', undefined],
  ['', undefined],
  [undefined, undefined],
])('parseId %j is %j', (text, id) => {
  expect(parseId(text)).toBe(id);
});

import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  parseCpus,
  parseDevice,
  parseEnvFile,
  parseLabel,
  parseMemory,
  parseMount,
  parseUlimit,
  parseVolume,
} from '#src/cli/containers/option-values.js';

const bind = { type: 'bind', destination: '/b', source: '/a' };

describe('values of the options of siphon run', () => {
  it.each([
    [parseMemory, '512m', 512 * 1024 * 1024],
    [parseMemory, '1.5G', 1.5 * 1024 ** 3],
    [parseMemory, '10', 10],
    [parseMemory, '2MiB', 2 * 1024 ** 2],
    [parseCpus, '1.5', 1.5],
    [parseUlimit, 'nofile=1:2', { type: 'RLIMIT_NOFILE', soft: 1, hard: 2 }],
    [parseUlimit, 'core=0', { type: 'RLIMIT_CORE', soft: 0, hard: 0 }],
    [parseUlimit, 'memlock=-1', { type: 'RLIMIT_MEMLOCK', soft: 2 ** 64, hard: 2 ** 64 }],
    [parseUlimit, 'core=0:-1', { type: 'RLIMIT_CORE', soft: 0, hard: 2 ** 64 }],
    [parseDevice, '/dev/x', { source: '/dev/x', path: '/dev/x', access: 'rwm' }],
    [parseDevice, '/dev/x:/dev/y:r', { source: '/dev/x', path: '/dev/y', access: 'r' }],
    [parseDevice, '/dev/x:rw', { source: '/dev/x', path: '/dev/x', access: 'rw' }],
    [parseVolume, '/a:/b', { ...bind, options: ['rbind', 'rprivate'] }],
    [parseVolume, '/a:/b:ro,bind', { ...bind, options: ['rprivate', 'ro', 'bind'] }],
    [parseVolume, './a:/b', { ...bind, source: resolve('a'), options: ['rbind', 'rprivate'] }],
    [parseMount, 'type=bind,src=/a,dst=/b,ro', { ...bind, options: ['rbind', 'rprivate', 'ro'] }],
    [
      parseMount,
      'type=bind,source=/a,target=/b,options=rbind:rslave',
      { ...bind, options: ['rbind', 'rslave'] },
    ],
    [
      parseMount,
      'type=tmpfs,destination=/b,tmpfs-size=1k,tmpfs-mode=700',
      {
        type: 'tmpfs',
        destination: '/b',
        source: 'tmpfs',
        options: ['nosuid', 'nodev', 'size=1024', 'mode=700'],
      },
    ],
    [parseMemory, '64M', 64 * 1024 ** 2],
    [parseMemory, '4kb', 4 * 1024],
    [parseMemory, '7b', 7],
    [
      parseMount,
      'type=bind,src=/a,dst=/b,readonly=false',
      { ...bind, options: ['rbind', 'rprivate'] },
    ],
    [parseMount, 'type=bind,src=/a,dst=/b,ro=1', { ...bind, options: ['rbind', 'rprivate', 'ro'] }],
    [
      parseMount,
      'type=bind,src=/a,dst=/b,bind-propagation=rslave',
      { ...bind, options: ['rbind', 'rslave'] },
    ],
    [
      parseMount,
      'type=bind,"source=/a,b ""c""",target=/x/../b/',
      { ...bind, source: '/a,b "c"', options: ['rbind', 'rprivate'] },
    ],
    [parseVolume, '/a:/b/:ro,Z', { ...bind, options: ['rbind', 'rprivate', 'ro'] }],
    [parseEnvFile, 'A= b \nB=\n', ['A= b ', 'B=']],
    [parseEnvFile, '# no\n\nA=b # c\r\n  B\n', ['A=b # c', 'B']],
    [parseLabel, 'a=b=c', ['a', 'b=c']],
    [parseLabel, 'a', ['a', '']],
  ] as [(text: string) => unknown, string, unknown][])('%o: %j', (parse, text, value) => {
    expect(parse(text)).toEqual(value);
  });

  it.each([
    [parseMemory, 'much'],
    [parseMemory, '0'],
    [parseMemory, '-1m'],
    [parseCpus, '0'],
    [parseCpus, 'x'],
    [parseUlimit, 'nofile=2:1'],
    [parseUlimit, 'core=-1:0'],
    [parseUlimit, 'core=18446744073709551616'],
    [parseUlimit, 'files=1'],
    [parseDevice, 'x'],
    [parseDevice, '/a:/b:/c'],
    [parseVolume, 'name:/x'],
    [parseVolume, '/a'],
    [parseVolume, '/a:b'],
    [parseVolume, '/a:/b:what'],
    [parseVolume, '/a:/'],
    [parseMount, ''],
    [parseMount, 'type=bind,source=/a,target=/b/..'],
    [parseMount, 'type=bind,source=/a,target=/b,bind-propagation=what'],
    [parseMount, 'type=tmpfs,target=/b,tmpfs-mode=rwx'],
    [parseMount, 'type=volume,source=name,target=/x'],
    [parseMount, 'type=bind,source=/a'],
    [parseMount, 'type=bind,source=/a,target=/b,what=1'],
    [parseMount, 'type=bind,source=/a,target=/b,readonly=yes'],
    [parseEnvFile, 'A=1\nB C=2\n'],
    [parseEnvFile, '=x'],
    [parseMemory, '1m2'],
    [parseLabel, '=x'],
  ] as [(text: string) => unknown, string][])('%o refuses %j', (parse, text) => {
    expect(() => parse(text)).toThrow(expect.objectContaining({ code: 'usage' }) as Error);
  });
});

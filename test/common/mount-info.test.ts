import { describe, expect, it } from 'vitest';
import { isMounted, parseMountInfo } from '#src/common/mount-info.js';

describe('parseMountInfo', () => {
  it('reads mount point and type past any number of optional fields', () => {
    const text =
      '36 35 98:0 / /mnt rw,noatime master:1 shared:2 - ext3 /dev/root rw\n' +
      '40 36 0:41 / /with\\040space\\134é rw - fuse.siphon siphon rw\n';
    expect(parseMountInfo(Buffer.from(text).toString('latin1'))).toEqual([
      { mountPoint: '/mnt', type: 'ext3', device: '98:0' },
      { mountPoint: '/with space\\é', type: 'fuse.siphon', device: '0:41' },
    ]);
  });
});

describe('isMounted', () => {
  it('knows the root of proc from a folder in it', async () => {
    expect(await isMounted('/proc')).toBe(true);
    expect(await isMounted('/proc/self')).toBe(false);
  });
});

import { describe, expect, test } from 'vitest';
import { checkMountable, overlayMounts, overlayOptions } from '#src/snapshotter/overlay.js';

const upper = { fs: '/s/9/fs', work: '/s/9/work' };
const rest = { empty: '/s/9/fs', options: [] };

describe('overlayMounts', () => {
  test('without a parent, the folder itself', () => {
    const bind = { type: 'bind', source: '/s/9/fs', target: '' };
    expect(overlayMounts({ upper, lowers: [], ...rest })).toEqual([
      { ...bind, options: ['rw', 'rbind'] },
    ]);
    expect(overlayMounts({ lowers: [], ...rest })).toEqual([{ ...bind, options: ['ro', 'rbind'] }]);
  });

  test('a view of one parent, the parent', () => {
    const mounts = overlayMounts({ lowers: ['/s/1/fs'], ...rest });
    expect(mounts).toEqual([
      { type: 'bind', source: '/s/1/fs', target: '', options: ['ro', 'rbind'] },
    ]);
  });

  test('what is below is to be shown with other owners', () => {
    const idMapping = ['uidmap=0:1:2', 'gidmap=0:3:4'];
    const [view] = overlayMounts({ lowers: ['/s/1/fs'], ...rest, idMapping });
    expect(view?.options).toEqual([...idMapping, 'ro', 'rbind']);
    const [active] = overlayMounts({ upper, lowers: ['/s/1/fs'], ...rest, idMapping });
    expect(active?.options.slice(0, 2)).toEqual(idMapping);
    const [own] = overlayMounts({ upper, lowers: [], ...rest, idMapping });
    expect(own?.options).toEqual(['rw', 'rbind']);
  });

  test('otherwise an overlay, nearest parent first', () => {
    const lowers = ['/s/2/fs', '/s/1/fs'];
    const overlay = { type: 'overlay', source: 'overlay', target: '' };
    expect(overlayMounts({ lowers, ...rest })).toEqual([
      { ...overlay, options: ['lowerdir=/s/2/fs:/s/1/fs'] },
    ]);
    const options = ['userxattr', 'workdir=/s/9/work', 'upperdir=/s/9/fs', 'lowerdir=/s/1/fs'];
    expect(
      overlayMounts({ upper, lowers: ['/s/1/fs'], empty: '', options: ['userxattr'] }),
    ).toEqual([{ ...overlay, options }]);
  });

  test('a layer that stands in the stack twice is named once, where it is nearest', () => {
    const lowers = ['/fuse/3', '/fuse/2', '/fuse/3', '/fuse/1', '/fuse/2'];
    expect(overlayMounts({ lowers, ...rest })).toMatchObject([
      { options: ['lowerdir=/fuse/3:/fuse/2:/fuse/1'] },
    ]);
  });
});

describe('overlayOptions', () => {
  const uidMap = '         0          0 4294967295\n';

  test('nothing on an ordinary machine', () => {
    expect(overlayOptions({ uidMap, index: 'N\n' })).toEqual([]);
  });

  test('no index where the kernel would make one', () => {
    expect(overlayOptions({ uidMap, index: 'Y\n' })).toEqual(['index=off']);
  });

  test('userxattr in a user namespace', () => {
    expect(overlayOptions({ uidMap: '0 1000 1\n1 100000 65536\n', index: 'N' })).toEqual([
      'userxattr',
    ]);
  });
});

describe('checkMountable', () => {
  test.each(['/a:b', '/a,b', '/a\\b', '/a"b', '/a\nb'])('refuses %j', (path) => {
    expect(() => checkMountable(path)).toThrow(expect.objectContaining({ code: 'usage' }));
  });

  test('takes what is usual', () => {
    expect(() => checkMountable('/var/lib/siphon/with space-é')).not.toThrow();
  });
});

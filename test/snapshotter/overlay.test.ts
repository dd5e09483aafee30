import { describe, expect, test } from 'vitest';
import { checkMountable, overlayMounts, overlayOptions } from '#src/snapshotter/overlay.js';

const upper = { fs: '/s/9/fs', work: '/s/9/work' };
const rest = { empty: '/s/9/fs', options: [], dispensable: new Set<string>() };

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
    expect(overlayMounts({ ...rest, upper, lowers: ['/s/1/fs'], options: ['userxattr'] })).toEqual([
      { ...overlay, options },
    ]);
  });

  test('a layer that stands in the stack twice is named once, where it is nearest', () => {
    const lowers = ['/fuse/3', '/fuse/2', '/fuse/3', '/fuse/1', '/fuse/2'];
    expect(overlayMounts({ lowers, ...rest })).toMatchObject([
      { options: ['lowerdir=/fuse/3:/fuse/2:/fuse/1'] },
    ]);
  });
});

describe('overlayMounts with folders that it may do without', () => {
  const lowers = ['/r/layers/1/files/tree', '/r/fuse/1'];
  const both = { ...rest, lowers, dispensable: new Set(lowers.slice(0, 1)) };

  test('takes them into an overlay', () => {
    const [mount] = overlayMounts({ ...both, upper });
    expect(mount?.options.at(-1)).toBe('lowerdir=/r/layers/1/files/tree:/r/fuse/1');
  });

  test('leaves them out of a view that is one folder, and where owners are shifted', () => {
    expect(overlayMounts(both)).toMatchObject([{ type: 'bind', source: '/r/fuse/1' }]);
    const [mount] = overlayMounts({ ...both, upper, idMapping: ['uidmap=0:1:2'] });
    expect(mount?.options.at(-1)).toBe('lowerdir=/r/fuse/1');
  });

  test('leaves them out where a page would not hold all, relative to what they share', () => {
    const long = '/r'.repeat(1000);
    const stack = (count: number): { lowers: string[]; dispensable: Set<string> } => {
      const numbers = Array.from({ length: count }, (_, n) => n + 100);
      const above = numbers.map((n) => `${long}/layers/${n}/files/tree`);
      const all = numbers.flatMap((n, at) => [above[at] ?? '', `${long}/fuse/${n}`]);
      return { lowers: all, dispensable: new Set(above) };
    };
    const countOf = (count: number): number | undefined =>
      overlayMounts({ ...rest, ...stack(count) })[0]
        ?.options.at(-1)
        ?.split(':').length;
    expect(countOf(100)).toBe(200);
    expect(countOf(130)).toBe(130);
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

import { describe, expect, test } from 'vitest';
import { idMappingOf } from '#src/snapshotter/id-mapping.js';

const labels = (uids?: string, gids?: string): Record<string, string> => ({
  'containerd.io/snapshot/other': 'x',
  ...(uids === undefined ? {} : { 'containerd.io/snapshot/uidmapping': uids }),
  ...(gids === undefined ? {} : { 'containerd.io/snapshot/gidmapping': gids }),
});

describe('idMappingOf', () => {
  test('no labels, no mapping', () => {
    expect(idMappingOf(labels())).toBeUndefined();
  });

  test('root is where its range begins', () => {
    expect(idMappingOf(labels('0:100000:65536', '1:5:10,0:200000:1'))).toEqual({
      root: { uid: 100_000, gid: 200_000 },
      options: ['uidmap=0:100000:65536', 'gidmap=1:5:10,0:200000:1'],
    });
  });

  test.each([
    ['one of two', '0:1:1', undefined],
    ['nothing for root', '0:1:1', '1:1:1'],
    ['an empty range', '0:1:0', '0:1:1'],
    ['ids beyond the last', '0:4294967290:10', '0:1:1'],
    ['options in disguise', '0:1:1,upperdir=/', '0:1:1'],
    ['a word', 'root', '0:1:1'],
  ])('not %s', (_, uids, gids) => {
    expect(() => idMappingOf(labels(uids, gids))).toThrow(
      expect.objectContaining({ code: 'invalid' }),
    );
  });
});

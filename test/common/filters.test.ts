import { describe, expect, test } from 'vitest';
import { parseFilters } from '#src/common/filters.js';
import { type Snapshot, snapshotField } from '#src/snapshotter/snapshot.js';

const snapshot: Snapshot = {
  id: 1,
  name: 'sha256:abc',
  parent: 'default/3/key with, comma',
  kind: 'committed',
  createdAt: 0n,
  updatedAt: 0n,
  labels: { 'containerd.io/snapshot.ref': 'sha256:abc', 'a.b': 'tab\there "quoted" é', plain: '' },
  lazyNumber: undefined,
};

const matching: readonly string[] = [
  '',
  'name',
  'name==sha256:abc',
  'name == sha256:abc',
  ' name==sha256:abc,  kind',
  'missing_1!=a"b',
  'kind==committed',
  'kind!=active',
  'parent=="default/3/key with, comma"',
  'name==sha256:abc,kind==committed',
  'labels."containerd.io/snapshot.ref"==sha256:abc',
  'labels."containerd.io/snapshot.ref"==sha256:abc,parent=="default/3/key with, comma"',
  'labels.a.b=="tab\\there \\"quoted\\" \\u00e9"',
  'labels."a.b"=="tab\\x09here \\042quoted\\042 \\xc3\\xa9"',
  'labels.plain',
  'labels.plain==""',
  'labels.missing!=x',
  'name~=^sha256:',
  'name~="(?i)^SHA256"',
  'name~=/^sha256:[a-c]+$/',
  'parent~=|with, comma|',
  'name~="(?P<algorithm>sha)256"',
];

const otherwise: readonly string[] = [
  'name==sha256',
  'name!=sha256:abc',
  'kind==COMMITTED',
  'labels',
  'labels.missing',
  'labels.toString',
  'labels.missing==x',
  'nothing',
  'name.more',
  'name==sha256:abc,kind==active',
  'name~=^abc',
];

const malformed: readonly string[] = [
  'name==',
  'name=x',
  '==x',
  'name,',
  ',name',
  'name==a b',
  'name=="open',
  'labels.',
  'labels."a\\q"',
  'name=="\\777"',
  'name~="("',
  'name~=/open',
  'name!==x',
  'name ',
  'é',
];

describe('parseFilters', () => {
  test.each(matching)('%s matches', (filter) => {
    expect(parseFilters([filter], snapshotField)(snapshot)).toBe(true);
  });

  test.each(otherwise)('%s does not match', (filter) => {
    expect(parseFilters([filter], snapshotField)(snapshot)).toBe(false);
  });

  test.each(malformed)('%s is refused', (filter) => {
    expect(() => parseFilters([filter], snapshotField)).toThrow(
      expect.objectContaining({ code: 'invalid' }),
    );
  });

  test('one of several is enough, none is everything', () => {
    expect(parseFilters([], snapshotField)(snapshot)).toBe(true);
    expect(parseFilters(['kind==active', 'kind==committed'], snapshotField)(snapshot)).toBe(true);
    expect(parseFilters(['kind==active', 'kind==view'], snapshotField)(snapshot)).toBe(false);
  });

  test('the error tells the place', () => {
    const message = 'Cannot read filter "name==": at character 7, expected a value';
    expect(() => parseFilters(['name=='], snapshotField)).toThrow(message);
  });
});

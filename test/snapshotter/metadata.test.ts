import { Sqlite } from '#src/common/sqlite.js';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Metadata } from '#src/snapshotter/metadata.js';

describe('Metadata', () => {
  let folder: string;
  let path: string;
  let now = 1_700_000_000_123_456_789n;
  const clock = (): bigint => (now += 1n);

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'siphon-metadata-'));
    path = join(folder, 'metadata.db');
  });

  afterEach(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  function add(metadata: Metadata, name: string, parent = ''): number {
    const id = metadata.allocateId();
    metadata.create({ id, name: `${name}-active`, parent, kind: 'active', labels: {} });
    metadata.commit({ key: `${name}-active`, name, labels: { name }, parent: '' });
    return id;
  }

  test('keeps everything over a restart, times at nanoseconds', () => {
    const first = Metadata.open(path, clock);
    add(first, 'a');
    add(first, 'b', 'a');
    const [before, chain] = [first.list(), first.chain('b')];
    first.close();
    using second = Metadata.open(path, clock);
    expect(second.list()).toEqual(before);
    expect(second.chain('b')).toEqual(chain);
    expect(chain.map(({ name }) => name)).toEqual(['b', 'a']);
    expect(second.get('a').createdAt % 1_000n).not.toBe(0n);
  });

  test('never gives an id twice', () => {
    const first = Metadata.open(path, clock);
    const id = add(first, 'a');
    first.remove('a');
    first.close();
    using second = Metadata.open(path, clock);
    expect(second.allocateId()).toBeGreaterThan(id);
  });

  test('is open once only', () => {
    using first = Metadata.open(path, clock);
    expect(() => Metadata.open(path, clock)).toThrow(expect.objectContaining({ code: 'busy' }));
    add(first, 'a');
  });

  test('refuses what is no database and what a newer program wrote', async () => {
    await writeFile(path, 'text '.repeat(1_000));
    expect(() => Metadata.open(path, clock)).toThrow(expect.objectContaining({ code: 'corrupt' }));
    await rm(path);
    const newer = new Sqlite(path);
    newer.pragma('user_version = 999');
    newer.close();
    expect(() => Metadata.open(path, clock)).toThrow(
      expect.objectContaining({ code: 'unsupported' }),
    );
  });

  test('commits onto a parent that was not known when prepared', () => {
    using metadata = Metadata.open(path, clock);
    add(metadata, 'a');
    add(metadata, 'other');
    const create = (name: string, parent: string): void => {
      metadata.create({ id: metadata.allocateId(), name, parent, kind: 'active', labels: {} });
    };
    create('free', '');
    expect(metadata.commit({ key: 'free', name: 'b', labels: {}, parent: 'a' }).parent).toBe('a');
    create('bound', 'a');
    const change = { key: 'bound', name: 'c', labels: {} };
    expect(() => metadata.commit({ ...change, parent: 'other' })).toThrow(
      expect.objectContaining({ code: 'invalid' }),
    );
    expect(metadata.commit({ ...change, parent: 'a' }).parent).toBe('a');
  });

  test('tells which lazy layer nobody uses any more', () => {
    using metadata = Metadata.open(path, clock);
    for (const name of ['one', 'two']) {
      metadata.create({
        id: metadata.allocateId(),
        name,
        parent: '',
        kind: 'committed',
        labels: {},
        lazyNumber: 7,
      });
    }
    expect(metadata.remove('one').released).toBeUndefined();
    expect(metadata.lazyNumbers()).toEqual([7]);
    expect(metadata.remove('two').released).toBe(7);
    expect(metadata.pendingReleases()).toEqual([7]);
    metadata.confirmRelease(7);
    expect(metadata.pendingReleases()).toEqual([]);
  });

  test('a failed change changes nothing', () => {
    using metadata = Metadata.open(path, clock);
    add(metadata, 'a');
    add(metadata, 'b', 'a');
    const before = metadata.list();
    expect(() => metadata.remove('a')).toThrow(/remove/);
    expect(() => add(metadata, 'a')).toThrow(expect.objectContaining({ code: 'already-exists' }));
    metadata.remove('a-active');
    expect(metadata.list()).toEqual(before);
  });
});

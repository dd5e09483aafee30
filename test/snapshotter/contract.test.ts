/**
 * What every snapshotter of containerd must do, over its socket and with real mounts. The suite runs
 * against siphon and against containerd's own overlayfs, which proves the suite.
 */

import { type ServiceError, status } from '@grpc/grpc-js';
import {
  chmod,
  chown,
  link,
  lstat,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  rename,
  rm,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { silentLogger } from '#src/common/log.js';
import { wallClock } from '#src/ffi/clock.js';
import { Kind } from '#src/generated/containerd/services/snapshots/v1/snapshots.js';
import type { Timestamp } from '#src/generated/google/protobuf/timestamp.js';
import { serveSnapshotter } from '#src/snapshotter/server.js';
import { containerdMissing, startContainerd } from '../../bench/programs/containerd.js';
import { mounted } from '../support/mounted.js';
import { type Snapshots, type Target, connectSnapshots } from '../support/snapshots-client.js';

interface Subject extends Target {
  close(): Promise<void>;
}

const isRoot = process.getuid?.() === 0;

describe.skipIf(!isRoot)('siphon (needs root)', () => contract(startSiphon));
const missing = containerdMissing();
describe.skipIf(missing !== undefined)(`containerd overlayfs ${missing ?? ''}`, () =>
  contract(startOverlayfs),
);

async function startSiphon(): Promise<Subject> {
  const folder = await mkdtemp(join(tmpdir(), 'siphon-contract-'));
  const address = join(folder, 'siphon.sock');
  const server = await serveSnapshotter({
    root: join(folder, 'root'),
    address,
    lazy: undefined,
    log: silentLogger,
  });
  const close = async (): Promise<void> => {
    await server.close();
    await rm(folder, { recursive: true, force: true });
  };
  return { address, snapshotter: 'siphon', namespace: 'test', close };
}

async function startOverlayfs(): Promise<Subject> {
  const containerd = await startContainerd();
  const { address, namespace } = containerd;
  return { address, snapshotter: 'overlayfs', namespace, close: () => containerd.close() };
}

function contract(start: () => Promise<Subject>): void {
  let subject: Subject;
  let snapshots: Snapshots;

  beforeAll(async () => {
    subject = await start();
    snapshots = connectSnapshots(subject);
  }, 60_000);

  afterAll(async () => {
    snapshots?.close();
    await subject?.close();
  }, 60_000);

  /** Prepares on `parent`, changes the mounted tree, commits as `name`. */
  async function layer(
    name: string,
    parent: string,
    change: (root: string) => Promise<void>,
  ): Promise<void> {
    await mounted(await snapshots.prepare(`${name}-active`, parent), change);
    await snapshots.commit(name, `${name}-active`);
  }

  /** Looks at a committed snapshot through a view of it. */
  async function look<T>(name: string, see: (root: string) => Promise<T>): Promise<T> {
    const mounts = await snapshots.view(`${name}-look`, name);
    try {
      return await mounted(mounts, see);
    } finally {
      await snapshots.remove(`${name}-look`);
    }
  }

  const empty = async (): Promise<void> => undefined;

  test('prepares, commits and views a tree', async () => {
    const mounts = await snapshots.prepare('basic-1-active');
    expect(mounts).toMatchObject([{ type: 'bind', options: ['rw', 'rbind'] }]);
    await mounted(mounts, async (root) => {
      await writeFile(join(root, 'foo'), 'foo');
      await mkdir(join(root, 'a/b/c'), { recursive: true });
    });
    await snapshots.commit('basic-1', 'basic-1-active');
    const next = await snapshots.prepare('basic-2-active', 'basic-1');
    expect(next).toMatchObject([{ type: 'overlay', source: 'overlay' }]);
    expect(optionNames(next[0]?.options)).toEqual(['lowerdir', 'upperdir', 'workdir']);
    expect(await snapshots.mounts('basic-2-active')).toEqual(next);
    await mounted(next, async (root) => {
      expect(await readFile(join(root, 'foo'), 'utf8')).toBe('foo');
      await writeFile(join(root, 'bar'), 'bar');
      await rm(join(root, 'a/b'), { recursive: true });
    });
    await snapshots.commit('basic-2', 'basic-2-active');
    expect(await look('basic-2', tree)).toEqual(['a/', 'bar', 'foo']);
    expect(await look('basic-1', tree)).toEqual(['a/', 'a/b/', 'a/b/c/', 'foo']);
  });

  test('stat tells of active and committed snapshots', async () => {
    const before = wallClock();
    await snapshots.prepare('stat-active', '', { 'containerd.io/snapshot/a': '1' });
    const active = await snapshots.stat('stat-active');
    expect(active).toMatchObject({ name: 'stat-active', parent: '', kind: Kind.ACTIVE });
    expect(active.labels['containerd.io/snapshot/a']).toBe('1');
    expect(time(active.createdAt)).toBeGreaterThanOrEqual(before);
    expect(time(active.createdAt)).toBeLessThanOrEqual(wallClock());
    await snapshots.commit('stat', 'stat-active', { 'containerd.io/snapshot/b': '2' });
    const committed = await snapshots.stat('stat');
    expect(committed).toMatchObject({ name: 'stat', parent: '', kind: Kind.COMMITTED });
    expect(committed.labels).not.toHaveProperty('containerd.io/snapshot/a');
    expect(committed.labels['containerd.io/snapshot/b']).toBe('2');
    expect(time(committed.updatedAt)).toBeGreaterThan(time(active.updatedAt));
    await snapshots.view('stat-view', 'stat');
    expect(await snapshots.stat('stat-view')).toMatchObject({ parent: 'stat', kind: Kind.VIEW });
    await expectStatus(snapshots.stat('stat-active'), status.NOT_FOUND);
  });

  test('parents are transitive', async () => {
    await layer('chain-1', '', empty);
    await layer('chain-2', 'chain-1', empty);
    await layer('chain-3', 'chain-2', empty);
    const parents = [];
    for (let name = 'chain-3'; name !== ''; name = (await snapshots.stat(name)).parent)
      parents.push(name);
    expect(parents).toEqual(['chain-3', 'chain-2', 'chain-1']);
  });

  test('keys and names are unique', async () => {
    await layer('unique', '', empty);
    await snapshots.prepare('unique-key', 'unique');
    await expectStatus(snapshots.prepare('unique-key', 'unique'), status.ALREADY_EXISTS);
    await expectStatus(snapshots.view('unique-key', 'unique'), status.ALREADY_EXISTS);
    await expectStatus(snapshots.prepare('unique'), status.ALREADY_EXISTS);
    await expectStatus(snapshots.commit('unique', 'unique-key'), status.ALREADY_EXISTS);
    expect(await snapshots.stat('unique-key')).toMatchObject({ kind: Kind.ACTIVE });
  });

  test('what is missing is not found', async () => {
    await expectStatus(snapshots.stat('nothing'), status.NOT_FOUND);
    await expectStatus(snapshots.mounts('nothing'), status.NOT_FOUND);
    await expectStatus(snapshots.remove('nothing'), status.NOT_FOUND);
    await expectStatus(snapshots.usage('nothing'), status.NOT_FOUND);
    await expectStatus(snapshots.commit('anything', 'nothing'), status.NOT_FOUND);
    await expectStatus(snapshots.prepare('anything', 'nothing'), status.NOT_FOUND);
    await expectStatus(snapshots.view('anything', 'nothing'), status.NOT_FOUND);
    await expectStatus(snapshots.update('nothing', {}, ['labels.a']), status.NOT_FOUND);
  });

  test('each kind allows what it is for', async () => {
    await layer('kind', '', empty);
    await snapshots.prepare('kind-active-2', 'kind');
    await snapshots.view('kind-view', 'kind');
    await expectStatus(snapshots.prepare('kind-x', 'kind-active-2'), status.INVALID_ARGUMENT);
    await expectStatus(snapshots.view('kind-x', 'kind-view'), status.INVALID_ARGUMENT);
    await expectStatus(snapshots.commit('kind-x', 'kind-view'), status.FAILED_PRECONDITION);
    await expectStatus(snapshots.commit('kind-x', 'kind'), status.FAILED_PRECONDITION);
    await expectStatus(snapshots.mounts('kind'), status.FAILED_PRECONDITION);
  });

  test('update follows its mask', async () => {
    const label = (name: string): string => `containerd.io/snapshot/${name}`;
    await layer('update', '', empty);
    const keep = { 'containerd.io/gc.root': 'test' };
    const created = await snapshots.stat('update');
    const one = await snapshots.update(
      'update',
      { ...keep, [label('a.b')]: '1', [label('c')]: '2' },
      ['labels'],
    );
    expect(one.labels).toMatchObject({ [label('a.b')]: '1', [label('c')]: '2' });
    expect(one.createdAt).toEqual(created.createdAt);
    expect(time(one.updatedAt)).toBeGreaterThan(time(created.updatedAt));
    const two = await snapshots.update('update', { [label('a.b')]: '3', [label('c')]: '4' }, [
      `labels.${label('a.b')}`,
    ]);
    expect(two.labels).toMatchObject({ ...keep, [label('a.b')]: '3', [label('c')]: '2' });
    const three = await snapshots.update('update', {}, [`labels.${label('c')}`]);
    expect(three.labels[label('c')] ?? '').toBe('');
    const four = await snapshots.update('update', keep);
    expect(four.labels).toEqual(keep);
    expect((await snapshots.stat('update')).labels).toEqual(keep);
    for (const path of ['parent', 'created_at', 'nothing']) {
      await expectStatus(snapshots.update('update', {}, [path]), status.INVALID_ARGUMENT);
    }
  });

  test('a removed key is free again, with nothing of what it was', async () => {
    await mounted(await snapshots.prepare('reuse'), (root) => writeFile(join(root, 'old'), 'old'));
    await snapshots.remove('reuse');
    expect(await mounted(await snapshots.prepare('reuse'), tree)).toEqual([]);
    await snapshots.commit('reuse-committed', 'reuse');
    await snapshots.prepare('reuse');
    await snapshots.remove('reuse');
    await snapshots.remove('reuse-committed');
    await expectStatus(snapshots.stat('reuse-committed'), status.NOT_FOUND);
  });

  test('what has children stays', async () => {
    await layer('stack-1', '', empty);
    await layer('stack-2', 'stack-1', empty);
    await layer('stack-3', 'stack-2', empty);
    await expectStatus(snapshots.remove('stack-1'), status.FAILED_PRECONDITION, /remove/);
    await expectStatus(snapshots.remove('stack-2'), status.FAILED_PRECONDITION, /remove/);
    for (const name of ['stack-3', 'stack-2', 'stack-1']) await snapshots.remove(name);
  });

  test('a layer in the middle stays while a container or a view stands on it', async () => {
    await layer('middle-1', '', (root) => writeFile(join(root, 'low'), ''));
    await layer('middle-2', 'middle-1', (root) => writeFile(join(root, 'high'), ''));
    const active = await snapshots.prepare('middle-active', 'middle-2');
    await snapshots.view('middle-view', 'middle-2');
    await expectStatus(snapshots.remove('middle-2'), status.FAILED_PRECONDITION, /remove/);
    await snapshots.remove('middle-view');
    await expectStatus(snapshots.remove('middle-2'), status.FAILED_PRECONDITION, /remove/);
    expect(await mounted(active, tree)).toEqual(['high', 'low']);
    await snapshots.remove('middle-active');
    await snapshots.remove('middle-2');
    expect(await look('middle-1', tree)).toEqual(['low']);
    await snapshots.remove('middle-1');
  });

  test('cleanup takes nothing that is in use', async () => {
    await layer('clean', '', (root) => writeFile(join(root, 'f'), 'f'));
    const active = await snapshots.prepare('clean-active', 'clean');
    // Not every snapshotter of containerd's has something to clean up.
    await snapshots.cleanup().catch((error: unknown) => {
      expect(error).toMatchObject({ code: status.UNIMPLEMENTED });
      expect(subject.snapshotter).toBe('overlayfs');
    });
    expect(await mounted(active, tree)).toEqual(['f']);
  });

  test('list filters', async () => {
    const label = 'containerd.io/snapshot/color';
    await snapshots.prepare('walk-a', '', { [label]: 'red' });
    await snapshots.commit('walk-base', 'walk-a', { [label]: 'green' });
    await snapshots.prepare('walk-top', 'walk-base', { [label]: 'blue' });
    const names = async (...filters: string[]): Promise<string[]> =>
      (await snapshots.list(...filters)).map(({ name }) => name).toSorted();
    expect(await names('name==walk-base')).toEqual(['walk-base']);
    expect(await names('name~=^walk-')).toEqual(['walk-base', 'walk-top']);
    expect(await names('parent==walk-base')).toEqual(['walk-top']);
    expect(await names('kind==committed,name~="^walk-"')).toEqual(['walk-base']);
    expect(await names(`labels."${label}"==blue`)).toEqual(['walk-top']);
    expect(await names(`labels."${label}"`)).toEqual(['walk-base', 'walk-top']);
    expect(await names(`labels."${label}"==blue`, 'name==walk-base')).toEqual([
      'walk-base',
      'walk-top',
    ]);
    expect(await names(`labels."${label}"!=blue,name~=/^walk/`)).toEqual(['walk-base']);
    expect(await names('name==walk-base,kind==active')).toEqual([]);
    // containerd's service leaves the code out.
    const codes = [status.INVALID_ARGUMENT, status.UNKNOWN];
    await expect(snapshots.list('name==')).rejects.toSatisfy((error: ServiceError) =>
      codes.includes(error.code),
    );
  });

  test('list streams, and stat works meanwhile', async () => {
    const keys = Array.from({ length: 130 }, (_, index) => `many-${index}`);
    await Promise.all(keys.map((key) => snapshots.prepare(key)));
    const seen: string[] = [];
    const sizes: number[] = [];
    for await (const batch of snapshots.listBatches('name~=^many-')) {
      sizes.push(batch.length);
      for (const { name, kind } of batch) {
        expect(await snapshots.stat(name)).toMatchObject({ name, kind });
        seen.push(name);
      }
    }
    expect(seen.toSorted()).toEqual(keys.toSorted());
    expect(sizes).toEqual([100, 30]);
    await Promise.all(keys.map((key) => snapshots.remove(key)));
  });

  test('files of lower layers can be changed', async () => {
    await layer('change-1', '', async (root) => {
      await writeFile(join(root, 'file'), 'one');
      await mkdir(join(root, 'etc'));
      await writeFile(join(root, 'etc/conf'), 'a');
    });
    await layer('change-2', 'change-1', async (root) => {
      await writeFile(join(root, 'file'), 'two');
      await rm(join(root, 'etc'), { recursive: true });
      await mkdir(join(root, 'etc'));
      await writeFile(join(root, 'etc/fresh'), 'b');
    });
    expect(await look('change-2', (root) => readFile(join(root, 'file'), 'utf8'))).toBe('two');
    expect(await look('change-2', tree)).toEqual(['etc/', 'etc/fresh', 'file']);
    await layer('change-3', 'change-2', (root) => rm(join(root, 'file')));
    await layer('change-4', 'change-3', (root) => writeFile(join(root, 'other'), ''));
    expect(await look('change-4', tree)).toEqual(['etc/', 'etc/fresh', 'other']);
  });

  test('a folder removed in a lower layer stays removed', async () => {
    await layer('removed-1', '', async (root) => {
      await mkdir(join(root, 'dir1'));
      await mkdir(join(root, 'dir2'));
    });
    await layer('removed-2', 'removed-1', (root) => rm(join(root, 'dir1'), { recursive: true }));
    await layer('removed-3', 'removed-2', (root) => writeFile(join(root, 'dir2/file'), ''));
    expect(await look('removed-3', tree)).toEqual(['dir2/', 'dir2/file']);
  });

  test('owners of lower layers can be changed', async () => {
    await layer('chown-1', '', async (root) => {
      await mkdir(join(root, 'opt/a/b'), { recursive: true });
      await writeFile(join(root, 'opt/a/b/file'), 'x');
    });
    await layer('chown-2', 'chown-1', async (root) => {
      await chown(join(root, 'opt'), 1, 1);
      await chown(join(root, 'opt/a/b/file'), 2, 2);
    });
    await look('chown-2', async (root) => {
      expect(await lstat(join(root, 'opt'))).toMatchObject({ uid: 1, gid: 1 });
      expect(await lstat(join(root, 'opt/a/b'))).toMatchObject({ uid: 0, gid: 0 });
      expect(await lstat(join(root, 'opt/a/b/file'))).toMatchObject({ uid: 2, gid: 2, size: 1 });
    });
  });

  test('permissions of folders survive commits', async () => {
    await layer('mode-1', '', async (root) => {
      for (const [name, mode] of [
        ['dir1', 0o700],
        ['dir2', 0o1777],
        ['dir3', 0o2750],
      ] as const) {
        await mkdir(join(root, name));
        await chmod(join(root, name), mode);
      }
      await chown(join(root, 'dir1'), 1, 1);
    });
    await layer('mode-2', 'mode-1', (root) => writeFile(join(root, 'dir1/f'), ''));
    await look('mode-2', async (root) => {
      expect(((await lstat(join(root, 'dir1'))).mode & 0o7777).toString(8)).toBe('700');
      expect(await lstat(join(root, 'dir1'))).toMatchObject({ uid: 1, gid: 1 });
      expect(((await lstat(join(root, 'dir2'))).mode & 0o7777).toString(8)).toBe('1777');
      expect(((await lstat(join(root, 'dir3'))).mode & 0o7777).toString(8)).toBe('2750');
    });
  });

  test('files of lower layers can be moved', async () => {
    await layer('move-1', '', async (root) => {
      await mkdir(join(root, 'dir1'));
      await writeFile(join(root, 'dir1/f1'), 'f1');
      await writeFile(join(root, 'f2'), 'f2');
    });
    await layer('move-2', 'move-1', async (root) => {
      await rename(join(root, 'dir1/f1'), join(root, 'dir1/f3'));
      await rename(join(root, 'f2'), join(root, 'dir1/f2'));
    });
    expect(await look('move-2', tree)).toEqual(['dir1/', 'dir1/f2', 'dir1/f3']);
    expect(await look('move-2', (root) => readFile(join(root, 'dir1/f3'), 'utf8'))).toBe('f1');
  });

  test('folders can be renamed', async () => {
    await layer('rename-1', '', async (root) => {
      await mkdir(join(root, 'dir1/sub'), { recursive: true });
      await writeFile(join(root, 'dir1/sub/f'), 'f');
    });
    await layer('rename-2', 'rename-1', async (root) => {
      await mkdir(join(root, 'dir2'));
      // Overlay may refuse to rename a lower folder, as it would a file system of its own.
      await rename(join(root, 'dir1'), join(root, 'dir3')).catch((error: unknown) => {
        expect(error).toMatchObject({ code: 'EXDEV' });
      });
      await rename(join(root, 'dir2'), join(root, 'dir4'));
    });
    expect(await look('rename-2', tree)).toContain('dir4/');
  });

  test('views are read-only', async () => {
    await layer('view-1', '', (root) => writeFile(join(root, 'f'), 'f'));
    await layer('view-2', 'view-1', (root) => writeFile(join(root, 'g'), 'g'));
    const single = await snapshots.view('view-of-1', 'view-1');
    expect(single).toMatchObject([{ type: 'bind', options: ['ro', 'rbind'] }]);
    const double = await snapshots.view('view-of-2', 'view-2');
    expect(double).toMatchObject([{ type: 'overlay' }]);
    expect(optionNames(double[0]?.options)).toEqual(['lowerdir']);
    const none = await snapshots.view('view-of-none');
    expect(none).toMatchObject([{ type: 'bind', options: ['ro', 'rbind'] }]);
    for (const mounts of [single, double, none]) {
      await mounted(mounts, async (root) => {
        await expect(writeFile(join(root, 'new'), '')).rejects.toMatchObject({ code: 'EROFS' });
      });
    }
  });

  test('the root starts as 0755 and then is as its parent', async () => {
    const mode = async (root: string): Promise<string> =>
      ((await lstat(root)).mode & 0o7777).toString(8);
    expect(await mounted(await snapshots.prepare('root-1-active'), mode)).toBe('755');
    await snapshots.commit('root-1', 'root-1-active');
    expect(await mounted(await snapshots.prepare('root-1-next', 'root-1'), mode)).toBe('755');
    await layer('root-2', 'root-1', (root) => chown(root, 3, 4));
    await mounted(await snapshots.prepare('root-3', 'root-2'), async (root) => {
      expect(await lstat(root)).toMatchObject({ uid: 3, gid: 4 });
    });
  });

  test('usage counts what is on disk, hard links once', async () => {
    await mounted(await snapshots.prepare('usage-active'), async (root) => {
      await writeFile(join(root, 'big'), Buffer.alloc(1 << 20, 1));
      await link(join(root, 'big'), join(root, 'same'));
      await mkdir(join(root, 'dir'));
    });
    const active = await snapshots.usage('usage-active');
    expect(active.inodes).toBe(3);
    expect(active.size).toBeGreaterThanOrEqual(1 << 20);
    expect(active.size).toBeLessThan(1.2 * (1 << 20));
    await snapshots.commit('usage', 'usage-active');
    expect(await snapshots.usage('usage')).toEqual(active);
    await snapshots.prepare('usage-next', 'usage');
    expect((await snapshots.usage('usage-next')).inodes).toBe(1);
    await snapshots.view('usage-view', 'usage');
    expect(await snapshots.usage('usage-view')).toEqual({ size: 0, inodes: 0 });
  });

  test('128 layers are one mount', { timeout: 60_000 }, async () => {
    for (let index = 1; index <= 128; index += 1) {
      const parent = index === 1 ? '' : `deep-${index - 1}`;
      const [mount] = await snapshots.prepare(`deep-${index}-active`, parent);
      const upper = mount?.options.find((option) => option.startsWith('upperdir='));
      const folder = upper?.slice('upperdir='.length) ?? mount?.source ?? '';
      await writeFile(join(folder, `file-${index}`), String(index));
      await snapshots.commit(`deep-${index}`, `deep-${index}-active`);
    }
    expect(await look('deep-128', tree)).toHaveLength(128);
    const top = await snapshots.prepare('deep-top', 'deep-128');
    await mounted(top, async (root) => {
      await rm(join(root, 'file-1'));
      expect(await tree(root)).toHaveLength(127);
    });
  });

  test('many clients at once', async () => {
    await layer('crowd', '', empty);
    const attempts = Array.from({ length: 100 }, () => snapshots.prepare('crowd-key', 'crowd'));
    const outcomes = await Promise.allSettled(attempts);
    expect(outcomes.filter(({ status: outcome }) => outcome === 'fulfilled')).toHaveLength(1);
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected')
        expect(outcome.reason).toMatchObject({ code: status.ALREADY_EXISTS });
    }
    await snapshots.remove('crowd-key');
    await snapshots.remove('crowd');
  });
}

async function expectStatus(call: Promise<unknown>, code: status, message = /./): Promise<void> {
  await expect(call).rejects.toMatchObject({
    code,
    details: expect.stringMatching(message) as string,
  });
}

function optionNames(options: readonly string[] = []): string[] {
  const own = ['index=off', 'userxattr'];
  return options
    .filter((option) => !own.includes(option))
    .map((option) => option.split('=')[0] ?? '')
    .toSorted();
}

function time(timestamp: Timestamp | undefined): bigint {
  return (timestamp?.seconds ?? 0n) * 1_000_000_000n + BigInt(timestamp?.nanos ?? 0);
}

/** All paths below `root`, sorted; folders end in a slash. */
async function tree(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  const path = (parent: string, name: string): string => join(parent, name).slice(root.length + 1);
  return entries
    .map((entry) => path(entry.parentPath, entry.name) + (entry.isDirectory() ? '/' : ''))
    .toSorted();
}

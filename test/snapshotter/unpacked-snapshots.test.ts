/** Snapshots that the snapshotter has filled with a layer's files, over the socket; the files are a test's. */

import { status } from '@grpc/grpc-js';
import { mkdtemp, readFile, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { digestOf } from '#src/common/digest.js';
import { SiphonError } from '#src/common/errors.js';
import { silentLogger } from '#src/common/log.js';
import { Kind } from '#src/generated/containerd/services/snapshots/v1/snapshots.js';
import { type SnapshotterServer, serveSnapshotter } from '#src/snapshotter/server.js';
import { FolderLayers } from '../support/folder-layers.js';
import { closedGate } from '../support/gate.js';
import { type Snapshots, connectSnapshots } from '../support/snapshots-client.js';

const targetLabel = 'containerd.io/snapshot.ref';
const bottom = digestOf('bottom');
const top = digestOf('top');
const topmost = digestOf('topmost');

describe.skipIf(process.getuid?.() !== 0)('unpacked snapshots (need root)', () => {
  let folder: string;
  let lazy: FolderLayers;
  let server: SnapshotterServer;
  let snapshots: Snapshots;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'siphon-unpacked-'));
    lazy = new FolderLayers(join(folder, 'layers'));
    await start();
  });

  afterEach(async () => {
    await stop();
    await rm(folder, { recursive: true, force: true });
  });

  async function start(): Promise<void> {
    const address = join(folder, 's.sock');
    server = await serveSnapshotter({
      root: join(folder, 'root'),
      address,
      lazy,
      log: silentLogger,
    });
    snapshots = connectSnapshots({ address, snapshotter: 'siphon', namespace: 'test' });
  }

  async function stop(): Promise<void> {
    snapshots.close();
    await server.close();
  }

  const labels = (digest: string, target: string): Record<string, string> => ({
    [targetLabel]: target,
    'containerd.io/snapshot/cri.image-ref': 'registry.test/image:1',
    'containerd.io/snapshot/cri.layer-digest': digest,
    'containerd.io/snapshot/cri.image-layers': `${bottom},${top}`,
  });

  async function pull(target: string, parent: string, digest: string): Promise<void> {
    await expect(
      snapshots.prepare(`extract ${target}`, parent, labels(digest, target)),
    ).rejects.toMatchObject({ code: status.ALREADY_EXISTS });
  }

  const folders = (): Promise<string[]> => readdir(join(folder, 'root/snapshots'));
  const fs = (id: number): string => join(folder, 'root/snapshots', String(id), 'fs');

  test('are committed with their labels, on lazy layers and under them', async () => {
    lazy.files.add(top);
    await pull('chain-1', '', bottom);
    await pull('chain-2', 'chain-1', top);
    await pull('chain-3', 'chain-2', topmost);
    expect(lazy.places).toMatchObject([
      { target: fs(2), parents: [{ layer: 1 }], reason: { reason: 'small' } },
    ]);
    const [found] = await snapshots.list(`labels."${targetLabel}"==chain-2,parent=="chain-1"`);
    expect(found).toMatchObject({ name: 'chain-2', kind: Kind.COMMITTED });
    expect(found?.labels).toMatchObject(labels(top, 'chain-2'));
    const [mount] = await snapshots.prepare('container', 'chain-3');
    expect(mount?.options.at(-1)).toBe(`lowerdir=${lazy.path(3)}:${fs(2)}:${lazy.path(1)}`);
    expect((await snapshots.usage('chain-2')).inodes).toBe(2);
    await snapshots.remove('container');
    await snapshots.remove('chain-3');
    await snapshots.remove('chain-2');
    expect(await folders()).toEqual(['1']);
  });

  test('take the attributes of the root from the layer below', async () => {
    lazy.files.add(bottom);
    await pull('chain-1', '', bottom);
    expect((await stat(fs(1))).mode & 0o7777).toBe(0o755);
  });

  test('are asked for by many at once and made once', async () => {
    lazy.files.add(bottom);
    const gate = closedGate();
    lazy.beforeUnpack = () => gate.opened;
    const pulls = Array.from({ length: 20 }, () => pull('chain-1', '', bottom));
    // Calls come in order: when this one is answered, all of them have begun.
    await snapshots.list();
    gate.open();
    await Promise.all(pulls);
    expect(lazy.calls).toEqual(['unpack 1']);
    expect(await folders()).toEqual(['1']);
  });

  test('leave nothing where unpacking fails: the layer is left to containerd', async () => {
    lazy.files.add(bottom);
    lazy.beforeUnpack = () => Promise.reject(new SiphonError('corrupt', 'another diff id'));
    const [mount] = await snapshots.prepare('ordinary', '', labels(bottom, 'chain-1'));
    expect(mount).toMatchObject({ type: 'bind', source: fs(2) });
    expect(await folders()).toEqual(['2']);
    expect(await readdir(fs(2))).toEqual([]);
  });

  test('leave nothing where the client gives up', async () => {
    lazy.files.add(bottom);
    lazy.beforeUnpack = ({ signal }) =>
      new Promise((_, reject) => {
        signal.addEventListener('abort', () => reject(new SiphonError('cancelled', 'stopped')));
      });
    const cancel = new AbortController();
    const call = snapshots.prepare('key', '', labels(bottom, 'chain-1'), cancel.signal);
    const outcome = expect(call).rejects.toMatchObject({ code: status.CANCELLED });
    await expect.poll(() => lazy.places.length).toBe(1);
    cancel.abort();
    await outcome;
    await expect.poll(folders).toEqual([]);
    expect(await snapshots.list()).toEqual([]);
  });

  test('take the place of lazy ones that cannot be served any more', async () => {
    await pull('chain-1', '', bottom);
    await pull('chain-2', 'chain-1', top);
    await stop();
    lazy.beforeRestore = (number) =>
      number === 2 ? Promise.reject(new Error('its index is gone')) : Promise.resolve();
    await start();
    const mounts = await Promise.all(
      ['a', 'b', 'c'].map((key) => snapshots.prepare(key, 'chain-2')),
    );
    for (const [mount] of mounts)
      expect(mount?.options.at(-1)).toBe(`lowerdir=${fs(2)}:${lazy.path(1)}`);
    expect(await readFile(join(fs(2), 'layer'), 'utf8')).toBe(top);
    expect(lazy.places).toMatchObject([
      {
        target: fs(2),
        parents: [{ layer: 1 }],
        reason: {
          reason: 'not-served',
          detail: expect.stringContaining('its index is gone') as string,
        },
      },
    ]);
    expect(lazy.calls).toContain('release 2');
    const [mount] = await snapshots.mounts('a');
    expect(mount?.options.at(-1)).toBe(`lowerdir=${fs(2)}:${lazy.path(1)}`);
  });
});

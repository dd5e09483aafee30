/** Remote snapshots over the socket, with lazy layers that are plain folders. */

import { status } from '@grpc/grpc-js';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { digestOf } from '#src/common/digest.js';
import { SiphonError } from '#src/common/errors.js';
import { silentLogger } from '#src/common/log.js';
import { Kind } from '#src/generated/containerd/services/snapshots/v1/snapshots.js';
import type { LazyLayers } from '#src/snapshotter/lazy-layers.js';
import { type SnapshotterServer, serveSnapshotter } from '#src/snapshotter/server.js';
import { FolderLayers, unsupportedLayer } from '../support/folder-layers.js';
import { closedGate } from '../support/gate.js';
import { type Snapshots, connectSnapshots } from '../support/snapshots-client.js';

const targetLabel = 'containerd.io/snapshot.ref';
const bottom = digestOf('bottom');
const top = digestOf('top');

describe.skipIf(process.getuid?.() !== 0)('remote snapshots (need root)', () => {
  let folder: string;
  let lazy: FolderLayers;
  let server: SnapshotterServer;
  let snapshots: Snapshots;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'siphon-remote-'));
    lazy = new FolderLayers(join(folder, 'layers'));
    await start(lazy);
  });

  afterEach(async () => {
    await stop();
    await rm(folder, { recursive: true, force: true });
  });

  async function start(layers: LazyLayers | undefined): Promise<void> {
    const address = join(folder, 's.sock');
    const root = join(folder, 'root');
    server = await serveSnapshotter({ root, address, lazy: layers, log: silentLogger });
    snapshots = connectSnapshots({ address, snapshotter: 'siphon', namespace: 'test' });
  }

  async function stop(): Promise<void> {
    snapshots.close();
    await server.close();
  }

  function labels(digest: string, target: string): Record<string, string> {
    return {
      [targetLabel]: target,
      'containerd.io/snapshot/cri.image-ref': 'registry.test/image:1',
      'containerd.io/snapshot/cri.layer-digest': digest,
      'containerd.io/snapshot/cri.image-layers': `${bottom},${top},sha256:cut`,
    };
  }

  async function pull(target: string, parent: string, digest: string): Promise<void> {
    await expect(
      snapshots.prepare(`extract ${target}`, parent, labels(digest, target)),
    ).rejects.toMatchObject({
      code: status.ALREADY_EXISTS,
      details: `target snapshot "${target}": already exists`,
    });
  }

  const folders = (): Promise<string[]> => readdir(join(folder, 'root/snapshots'));

  /** Resolves when the server has begun all calls that were made: they come in order. */
  const allReceived = (): Promise<unknown> => snapshots.list();

  test('a layer that can be served is committed under its target', async () => {
    await pull('chain-1', '', bottom);
    await pull('chain-2', 'chain-1', top);
    expect(lazy.requests[0]).toMatchObject({
      reference: 'registry.test/image:1',
      layerDigest: bottom,
      imageLayers: [bottom, top],
    });
    const found = await snapshots.list(`labels."${targetLabel}"==chain-2,parent=="chain-1"`);
    expect(found).toMatchObject([{ name: 'chain-2', parent: 'chain-1', kind: Kind.COMMITTED }]);
    expect(found[0]?.labels).toMatchObject(labels(top, 'chain-2'));
    await expect(snapshots.stat('extract chain-2')).rejects.toMatchObject({
      code: status.NOT_FOUND,
    });
    expect(await folders()).toEqual(['1', '2']);
    expect(await readdir(join(folder, 'root/snapshots/2'))).toEqual(['snapshot.json']);
    const [mount] = await snapshots.prepare('container', 'chain-2');
    expect(mount?.options.at(-1)).toBe(`lowerdir=${lazy.path(2)}:${lazy.path(1)}`);
    const [view] = await snapshots.view('look', 'chain-1');
    expect(view).toMatchObject({ type: 'bind', source: lazy.path(1), options: ['ro', 'rbind'] });
    expect(await snapshots.usage('chain-2')).toEqual({ size: 2000, inodes: 2 });
  });

  test('concurrent prepares share the work', async () => {
    const gate = closedGate();
    lazy.beforePrepare = () => gate.opened;
    const pulls = Array.from({ length: 20 }, () => pull('chain-1', '', bottom));
    await allReceived();
    gate.open();
    await Promise.all(pulls);
    expect(lazy.calls).toEqual(['prepare 1']);
    expect(await snapshots.list()).toHaveLength(1);
  });

  test('what cannot be served lazily becomes an ordinary snapshot', async () => {
    lazy.beforePrepare = () => Promise.reject(unsupportedLayer());
    expect(await snapshots.prepare('ordinary-1', '', labels(bottom, 'chain-1'))).toMatchObject([
      { type: 'bind' },
    ]);
    lazy.beforePrepare = () => Promise.reject(new TypeError('a defect'));
    expect(await snapshots.prepare('ordinary-2', '', labels(bottom, 'chain-1'))).toMatchObject([
      { type: 'bind' },
    ]);
    const digestless = labels('sha512:what', 'chain-1');
    expect(await snapshots.prepare('ordinary-3', '', digestless)).toMatchObject([{ type: 'bind' }]);
    lazy.beforePrepare = () => Promise.resolve();
    await pull('chain-1', '', bottom);
  });

  test('the same target stands on either parent', async () => {
    await pull('chain-1', '', bottom);
    await pull('chain-2', 'chain-1', top);
    await snapshots.prepare('unpacking');
    await snapshots.commit('other/1/chain-1', 'unpacking');
    await pull('chain-2', 'other/1/chain-1', top);
    const found = await snapshots.list(
      `labels."${targetLabel}"==chain-2,parent=="other/1/chain-1"`,
    );
    expect(found).toHaveLength(1);
    await snapshots.remove(found[0]?.name ?? '');
    expect(lazy.calls).not.toContain('release 2');
    await snapshots.remove('chain-2');
    expect(lazy.calls.at(-1)).toBe('release 2');
  });

  test('a parent that is missing or not committed is told as ever', async () => {
    await snapshots.prepare('active');
    const attempt = (parent: string): Promise<unknown> =>
      snapshots.prepare('x', parent, labels(top, 'chain-2'));
    await expect(attempt('nothing')).rejects.toMatchObject({ code: status.NOT_FOUND });
    await expect(attempt('active')).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
    expect(lazy.calls).toEqual([]);
  });

  test('a cancelled prepare stops the work and leaves nothing', async () => {
    const stopped = vi.fn<() => void>();
    lazy.beforePrepare = ({ signal }) =>
      new Promise((_, reject) => {
        signal.addEventListener('abort', () => {
          stopped();
          reject(new SiphonError('cancelled', 'stopped'));
        });
      });
    const cancel = new AbortController();
    const call = snapshots.prepare('key', '', labels(bottom, 'chain-1'), cancel.signal);
    const outcome = expect(call).rejects.toMatchObject({ code: status.CANCELLED });
    await expect.poll(() => lazy.requests.length).toBe(1);
    cancel.abort();
    await outcome;
    await expect.poll(() => stopped.mock.calls.length).toBe(1);
    expect(await snapshots.list()).toEqual([]);
    lazy.beforePrepare = () => Promise.resolve();
    await pull('chain-1', '', bottom);
  });

  test('one cancelled client does not stop the others', async () => {
    const gate = closedGate();
    lazy.beforePrepare = () => gate.opened;
    const cancel = new AbortController();
    const leaving = snapshots.prepare('key', '', labels(bottom, 'chain-1'), cancel.signal);
    const outcome = expect(leaving).rejects.toMatchObject({ code: status.CANCELLED });
    const staying = pull('chain-1', '', bottom);
    await allReceived();
    cancel.abort();
    await outcome;
    gate.open();
    await staying;
    expect(lazy.calls).toEqual(['prepare 1']);
  });

  test('a release waits while a layer is prepared, and is dropped where that uses it', async () => {
    await pull('chain-1', '', bottom);
    const gate = closedGate();
    lazy.beforePrepare = () => gate.opened;
    const again = pull('chain-1-again', '', bottom);
    await expect.poll(() => lazy.requests.length).toBe(2);
    await snapshots.remove('chain-1');
    gate.open();
    await again;
    expect(lazy.calls).not.toContain('release 1');
    await snapshots.remove('chain-1-again');
    expect(lazy.calls.at(-1)).toBe('release 1');
  });

  test('a failed release is made good by cleanup', async () => {
    await pull('chain-1', '', bottom);
    const release = vi.spyOn(lazy, 'release').mockRejectedValueOnce(new Error('busy'));
    await snapshots.remove('chain-1');
    await snapshots.cleanup();
    await snapshots.cleanup();
    expect(release).toHaveBeenCalledTimes(2);
  });

  test('layers are restored after a restart, again where that failed', async () => {
    await pull('chain-1', '', bottom);
    await stop();
    lazy.beforeRestore = () => Promise.reject(new Error('its index is gone'));
    lazy.beforeUnpack = () => Promise.reject(new Error('host registry.test is gone'));
    await start(lazy);
    await expect(snapshots.prepare('container', 'chain-1')).rejects.toMatchObject({
      code: status.UNAVAILABLE,
      details: expect.stringMatching(/its index is gone.*host registry.test is gone/) as string,
    });
    expect(await snapshots.list('name==container')).toEqual([]);
    lazy.beforeRestore = () => Promise.resolve();
    const [mount] = await snapshots.view('look', 'chain-1');
    expect(mount?.source).toBe(lazy.path(1));
    expect(lazy.calls.filter((call) => call === 'restore 1')).toHaveLength(1);
  });

  test('with lazy layers switched off, what was pulled so is unavailable', async () => {
    await pull('chain-1', '', bottom);
    await stop();
    await start(undefined);
    await expect(snapshots.view('look', 'chain-1')).rejects.toMatchObject({
      code: status.UNAVAILABLE,
    });
    expect(await snapshots.prepare('ordinary', '', labels(top, 'chain-2'))).toMatchObject([
      { type: 'bind' },
    ]);
    await snapshots.remove('chain-1');
    await stop();
    await start(lazy);
    await expect.poll(() => lazy.calls).toContain('release 1');
  });
});

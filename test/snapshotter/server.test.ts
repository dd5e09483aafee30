import { status } from '@grpc/grpc-js';
import { lstat, mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { silentLogger } from '#src/common/log.js';
import { type SnapshotterServer, serveSnapshotter } from '#src/snapshotter/server.js';
import { connectSnapshots } from '../support/snapshots-client.js';

describe.skipIf(process.getuid?.() !== 0)('serveSnapshotter (needs root)', () => {
  let folder: string;
  let address: string;
  const servers: SnapshotterServer[] = [];

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'siphon-server-'));
    address = join(folder, 'run/siphon.sock');
  });

  afterEach(async () => {
    for (const server of servers.splice(0)) await server.close();
    await rm(folder, { recursive: true, force: true });
  });

  async function serve(root = join(folder, 'root'), at = address): Promise<SnapshotterServer> {
    const server = await serveSnapshotter({
      root,
      address: at,
      lazy: undefined,
      log: silentLogger,
    });
    servers.push(server);
    return server;
  }

  const connect = (): ReturnType<typeof connectSnapshots> =>
    connectSnapshots({ address, snapshotter: 'siphon', namespace: 'test' });

  test('makes a socket for its user and group, and takes it away', async () => {
    const server = await serve();
    const found = await lstat(address);
    expect(found.isSocket()).toBe(true);
    expect((found.mode & 0o777).toString(8)).toBe('660');
    expect(await readdir(join(folder, 'run'))).toEqual(['siphon.sock']);
    await Promise.all([server.close(), server.close()]);
    await server.close();
    expect(await readdir(join(folder, 'run'))).toEqual([]);
  });

  test('replaces a socket that nobody listens on', async () => {
    await mkdir(join(folder, 'run'));
    const dead = createServer().listen(join(folder, 'run/dead'));
    await once(dead, 'listening');
    await rename(join(folder, 'run/dead'), address);
    dead.close();
    await once(dead, 'close');
    expect((await lstat(address)).isSocket()).toBe(true);
    await serve();
    const client = connect();
    expect(await client.list()).toEqual([]);
    client.close();
  });

  test('refuses an address that is in use, and leaves it as it is', async () => {
    await serve();
    await expect(serve(join(folder, 'other'))).rejects.toMatchObject({ code: 'busy' });
    const client = connect();
    expect(await client.list()).toEqual([]);
    client.close();
    await writeFile(join(folder, 'file'), 'mine');
    const attempt = serve(join(folder, 'third'), join(folder, 'file'));
    await expect(attempt).rejects.toMatchObject({ code: 'already-exists' });
    const long = serve(join(folder, 'third'), join(folder, 'x'.repeat(100), 'sock'));
    await expect(long).rejects.toMatchObject({ code: 'usage' });
  });

  test('refuses a root that is in use, and one that overlay cannot mount', async () => {
    await serve();
    const second = serve(join(folder, 'root'), join(folder, 'second.sock'));
    await expect(second).rejects.toMatchObject({ code: 'busy' });
    await expect(serve(join(folder, 'a:b'))).rejects.toMatchObject({ code: 'usage' });
  });

  test('keeps snapshots over a restart and removes folders that belong to none', async () => {
    const snapshots = join(folder, 'root/snapshots');
    const first = await serve();
    let client = connect();
    const mounts = await client.prepare('key');
    client.close();
    await first.close();
    await mkdir(join(snapshots, '77/fs'), { recursive: true });
    await writeFile(join(snapshots, '77/fs/file'), 'left by a crash');
    await serve();
    expect(await readdir(snapshots)).toEqual(['1']);
    client = connect();
    expect(await client.mounts('key')).toEqual(mounts);
    await mkdir(join(snapshots, '78/fs'), { recursive: true });
    await client.cleanup();
    expect(await readdir(snapshots)).toEqual(['1']);
    await client.remove('key');
    expect(await readdir(snapshots)).toEqual([]);
    client.close();
  });

  test('a failed prepare leaves no folder', async () => {
    await serve();
    const client = connect();
    await client.prepare('key');
    await expect(client.prepare('key')).rejects.toMatchObject({ code: status.ALREADY_EXISTS });
    await expect(client.prepare('')).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
    await expect(client.list('name==')).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
    expect(await readdir(join(folder, 'root/snapshots'))).toEqual(['1']);
    client.close();
  });
});

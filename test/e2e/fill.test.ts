/** The rest of layers fetched while nobody reads: what that draws, what it checks, and what comes of it. */

import { status } from '@grpc/grpc-js';
import { spawnSync } from 'node:child_process';
import { readFile, readdir, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { type Digest, digestHex } from '#src/common/digest.js';
import { type DockerRegistry, startDockerRegistry } from '../../bench/programs/docker-registry.js';
import { layerLabels } from '../support/layer-labels.js';
import { type BuiltImage, buildLayout, file, noise } from '../support/images.js';
import { startSiphonService } from '../../bench/programs/siphon-service.js';
import { type RegistryProxy, startRegistryProxy } from '../support/registry-proxy.js';
import { type Sandbox, must, openSandbox } from '../support/sandbox.js';
import { connectSnapshots } from '../support/snapshots-client.js';

const MIB = 1 << 20;
const contents = Array.from({ length: 4 }, (_, n) => noise(3 * MIB, `fill ${n}`));
const nameOf = (n: number): string => `file-${n}`;

let shared: Sandbox;
let image: BuiltImage;
let layer: { digest: Digest; size: number };
let registry: DockerRegistry;
let proxy: RegistryProxy;
let reference: string;

beforeAll(async () => {
  shared = await openSandbox();
  image = await buildLayout(join(shared.directory, 'layout'), {
    tag: 'latest',
    layers: [contents.map((content, n) => file(nameOf(n), content))],
  });
  const [only] = image.layers;
  if (only === undefined) throw new Error('the image has no layer');
  layer = only;
  registry = await startDockerRegistry();
  proxy = await startRegistryProxy(registry.host);
  reference = `docker://${proxy.host}/app:latest`;
  await publish('app', async () => undefined);
}, 60_000);

beforeEach(() => {
  proxy.sent = 0;
  proxy.requests.length = 0;
  proxy.alter = () => undefined;
  proxy.before = () => Promise.resolve();
});

afterAll(async () => {
  await proxy?.[Symbol.asyncDispose]();
  await registry?.close();
  await shared?.[Symbol.asyncDispose]();
});

/** Pushes the image and an index of it that `change` has changed. */
async function publish(name: string, change: (indexPath: string) => Promise<void>): Promise<void> {
  const to = `docker://${registry.host}/${name}:latest`;
  await must('skopeo', 'copy', '-q', '--dest-tls-verify=false', `oci:${image.layout}:latest`, to);
  await using sandbox = await openSandbox();
  for (const command of ['build', 'push']) {
    const done = await sandbox.siphon('index', command, to);
    expect(done, done.stderr).toMatchObject({ code: 0 });
    if (command === 'build') await change(join(sandbox.root, 'layers/1/index.db'));
  }
}

async function mount(sandbox: Sandbox, after: string, from = reference): Promise<string> {
  const directory = await sandbox.folder('mnt');
  const outcome = await sandbox.siphon('--fill-after', after, 'mount', from, directory);
  expect(outcome, outcome.stderr).toMatchObject({ code: 0 });
  return directory;
}

async function unmount(sandbox: Sandbox): Promise<void> {
  const outcome = await sandbox.siphon('umount', join(sandbox.directory, 'mnt'));
  expect(outcome, outcome.stderr).toMatchObject({ code: 0 });
}

/** Contents of the layer that were sent. */
const blobBytes = (): number => sentOf.get(proxy) ?? 0;
const sentOf = new Map<RegistryProxy, number>();

/** Lets `change` at what is sent of the layer's blob, and counts it. */
function watchBlob(change: (bytes: Buffer, offset: number) => void = () => undefined): void {
  sentOf.set(proxy, 0);
  proxy.alter = (line, bytes, { offset }) => {
    if (!line.includes(`/blobs/${layer.digest}`)) return;
    sentOf.set(proxy, blobBytes() + bytes.length);
    change(bytes, offset);
  };
}

async function untilWhole(sandbox: Sandbox): Promise<void> {
  const path = join(sandbox.root, 'content/blobs/sha256', digestHex(layer.digest));
  await expect.poll(() => isThere(path)).toBe(true);
}

function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

async function expectAll(directory: string): Promise<void> {
  for (const [n, content] of contents.entries())
    expect(content.equals(await readFile(join(directory, nameOf(n)))), nameOf(n)).toBe(true);
}

async function logOf(sandbox: Sandbox): Promise<string> {
  return readFile(join(sandbox.root, 'logs/mount.log'), 'utf8').catch(() => '');
}

it('brings the layer whole, each byte once, and then needs no registry', async () => {
  await using sandbox = await openSandbox();
  watchBlob();
  const directory = await mount(sandbox, '0');
  expect(contents[2]?.equals(await readFile(join(directory, nameOf(2))))).toBe(true);
  await untilWhole(sandbox);
  expect(blobBytes()).toBeGreaterThanOrEqual(layer.size);
  expect(blobBytes()).toBeLessThanOrEqual(layer.size * 1.05);
  await expect.poll(() => readdir(join(sandbox.root, 'layers/1'))).not.toContain('parts');
  proxy.before = () => Promise.resolve(503);
  await expectAll(directory);
  await unmount(sandbox);
  await mount(sandbox, '0');
  await expectAll(directory);
}, 60_000);

it('does nothing where it is off, and not before its time', async () => {
  await using sandbox = await openSandbox();
  watchBlob();
  await mount(sandbox, 'never');
  await new Promise((resolve) => setTimeout(resolve, 1500));
  await unmount(sandbox);
  await mount(sandbox, '60');
  await new Promise((resolve) => setTimeout(resolve, 1500));
  expect(blobBytes()).toBe(0);
}, 60_000);

it('goes on where it was when its process was killed', async () => {
  await using sandbox = await openSandbox();
  watchBlob();
  let held = 0;
  const isFill = (line: string): boolean => line.includes(`/blobs/${layer.digest}`);
  proxy.before = (line) => (isFill(line) && ++held > 5 ? new Promise(() => {}) : Promise.resolve());
  const directory = await mount(sandbox, '0');
  await expect.poll(() => held, { timeout: 20_000 }).toBeGreaterThan(5);
  const { server } = JSON.parse(
    await readFile(join(sandbox.root, 'mounts', await recordName(sandbox)), 'utf8'),
  ) as { server: { pid: number } };
  process.kill(server.pid, 'SIGKILL');
  // Not by a listing: one that the server gave on its way out, the kernel would give for ever.
  const isServed = (): Promise<boolean> =>
    statfs(directory).then(
      () => true,
      () => false,
    );
  await expect.poll(isServed).toBe(false);
  spawnSync('umount', ['--lazy', directory]);
  const before = blobBytes();
  expect(before).toBeGreaterThan(4 * MIB);
  proxy.before = () => Promise.resolve();
  await mount(sandbox, '0');
  await untilWhole(sandbox);
  expect(blobBytes()).toBeLessThanOrEqual(layer.size * 1.05);
  await expectAll(directory);
}, 60_000);

async function recordName(sandbox: Sandbox): Promise<string> {
  const names = await readdir(join(sandbox.root, 'mounts'));
  return names.find((name) => name.endsWith('.json')) ?? '';
}

it('draws a blob anew that is not the layer, wherever the wrong bit is', async () => {
  await using sandbox = await openSandbox();
  let flips = 0;
  // The last bytes of a gzip file belong to no span.
  watchBlob((bytes, offset) => {
    const at = layer.size - 1 - offset;
    if (at < 0 || at >= bytes.length || flips++ > 0) return;
    bytes[at] = (bytes[at] ?? 0) ^ 1;
  });
  const directory = await mount(sandbox, '0');
  await untilWhole(sandbox);
  expect(flips).toBe(2);
  expect(await logOf(sandbox)).toContain('drawn anew');
  await expectAll(directory);
}, 60_000);

it('takes an answer that cannot be right for one of the moment', async () => {
  await using sandbox = await openSandbox();
  watchBlob();
  let odd = 0;
  proxy.before = (line) =>
    Promise.resolve(line.includes(`/blobs/${layer.digest}`) && odd++ === 0 ? 416 : undefined);
  const directory = await mount(sandbox, '0.1');
  await expect.poll(() => odd, { timeout: 20_000 }).toBeGreaterThan(0);
  await untilWhole(sandbox);
  await expectAll(directory);
  await unmount(sandbox);
});

it('is done once for all mounts of a layer', async () => {
  await using sandbox = await openSandbox();
  watchBlob();
  let asked = 0;
  let letGo = (): void => undefined;
  const held = new Promise<void>((done) => (letGo = done));
  proxy.before = (line) =>
    line.includes(`/blobs/${layer.digest}`) && ++asked > 2 ? held : Promise.resolve();
  await mount(sandbox, '0');
  await expect.poll(() => asked).toBeGreaterThan(2);
  const second = await sandbox.folder('second');
  const options = ['--log-level', 'debug', '--fill-after', '0'];
  const outcome = await sandbox.siphon(...options, 'mount', reference, second);
  expect(outcome, outcome.stderr).toMatchObject({ code: 0 });
  await expect.poll(() => logOf(sandbox)).toContain('another process brings the layer');
  letGo();
  await expect.poll(() => logOf(sandbox)).toContain('brought by another process');
  expect(blobBytes()).toBeLessThanOrEqual(1.05 * layer.size);
  proxy.before = () => Promise.resolve(503);
  await expectAll(second);
  await sandbox.siphon('umount', second);
  await unmount(sandbox);
}, 60_000);

/** A service that fills at once, whose metrics are read as a scraper does. */
it.skipIf(process.getuid?.() !== 0)(
  'tells in the metrics how far it is (needs root)',
  async () => {
    await using sandbox = await openSandbox();
    let holds = true;
    const isLayer = (line: string): boolean => line.includes(`/blobs/${layer.digest}`);
    let asked = 0;
    proxy.before = (line) =>
      holds && isLayer(line) && ++asked > 3 ? new Promise(() => {}) : Promise.resolve();
    const socket = join(sandbox.directory, 'metrics.sock');
    const config = join(sandbox.directory, 'fill.toml');
    const lines = ['smallest_lazy_layer = 0', 'fill_after = 0', `metrics_address = "${socket}"`];
    await writeFile(config, lines.join('\n'));
    const siphon = await startSiphonService(sandbox, '--config', config);
    const { address } = siphon;
    const snapshots = connectSnapshots({ address, snapshotter: 'siphon', namespace: 'test' });
    const value = async (name: string): Promise<number> => {
      const text = await scrape(socket);
      return Number(
        text
          .split('\n')
          .find((line) => line.startsWith(`${name} `))
          ?.split(' ')[1],
      );
    };
    try {
      const { digest } = layer;
      const labels = layerLabels({ target: 'chain', image: `${proxy.host}/app:latest`, digest });
      const prepared = snapshots.prepare('pull', '', labels);
      await expect(prepared).rejects.toMatchObject({ code: status.ALREADY_EXISTS });
      // Three requests are answered, and the fourth hangs.
      await expect.poll(() => value('siphon_fill_bytes'), { timeout: 20_000 }).toBe(3 * MIB);
      expect(await value('siphon_fill_wanted_bytes')).toBe(layer.size);
      expect(await value('siphon_layers_whole')).toBe(0);
      expect(await value('siphon_fetch_requests_total{class="fill"}')).toBe(3);
      expect(await value('siphon_fetch_bytes_total{class="fill"}')).toBe(3 * MIB);
      // A removal does not wait for it.
      holds = false;
      await snapshots.remove('chain');
      expect(await value('siphon_fill_wanted_bytes')).toBe(0);
      await snapshots.prepare('again', '', labels).catch(() => undefined);
      await expect.poll(() => value('siphon_layers_whole'), { timeout: 30_000 }).toBe(1);
      expect(await value('siphon_fill_bytes')).toBe(layer.size);
      expect(await value('siphon_layers_refused')).toBe(0);
    } finally {
      snapshots.close();
      await siphon.stop();
    }
  },
  60_000,
);

function scrape(socketPath: string): Promise<string> {
  return new Promise((resolve, reject) => {
    get({ socketPath, path: '/metrics' }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (piece: string) => (body += piece));
      response.once('end', () => resolve(body));
    }).once('error', reject);
  });
}

it('refuses a layer that no host has as it should be', async () => {
  await using sandbox = await openSandbox();
  watchBlob((bytes, offset) => {
    const at = layer.size - 1 - offset;
    if (at >= 0 && at < bytes.length) bytes[at] = (bytes[at] ?? 0) ^ 1;
  });
  const directory = await mount(sandbox, '0');
  await expect
    .poll(() => logOf(sandbox), { timeout: 30_000 })
    .toContain('layer is refused: Cannot trust layer');
  await expect(readFile(join(directory, nameOf(1)))).rejects.toMatchObject({ code: 'EIO' });
  await unmount(sandbox);
  // The registry was repaired.
  proxy.alter = () => undefined;
  await mount(sandbox, '0');
  await untilWhole(sandbox);
  await expectAll(directory);
}, 60_000);

it('refuses a layer whose published index lied, and serves it by its own one at the next start', async () => {
  await publish('liar', async (path) => {
    using database = closing(new BetterSqlite3(path));
    database.one.exec(
      "UPDATE entry SET name = CAST('file-9' AS BLOB) WHERE name = CAST('file-1' AS BLOB)",
    );
  });
  await using sandbox = await openSandbox();
  const directory = await mount(sandbox, '0', `docker://${proxy.host}/liar:latest`);
  await expect
    .poll(() => logOf(sandbox), { timeout: 30_000 })
    .toContain('layer is refused: Cannot trust index');
  await expect(readFile(join(directory, nameOf(2)))).rejects.toMatchObject({ code: 'EIO' });
  await unmount(sandbox);
  await rm(join(sandbox.root, 'logs/mount.log'));
  await mount(sandbox, '0', `docker://${proxy.host}/liar:latest`);
  await expectAll(directory);
}, 60_000);

function closing(one: BetterSqlite3.Database): Disposable & { one: BetterSqlite3.Database } {
  return { one, [Symbol.dispose]: () => one.close() };
}

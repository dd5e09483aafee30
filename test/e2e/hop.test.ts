/**
 * Uncompressed layers, whose trees come from their headers: what is drawn for that, what the first read of
 * contents leads to, and that nothing but the layer's own bytes is ever given to a reader.
 */

import { open, readFile, readdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { digestHex } from '#src/common/digest.js';
import {
  type Containerd,
  startContainerd,
  untilReconnected,
} from '../../bench/programs/containerd.js';
import { writeSmallLayout } from '../support/demo-layout.js';
import { type DockerRegistry, startDockerRegistry } from '../../bench/programs/docker-registry.js';
import { type BuiltImage, buildLayout, dir, file, noise, tarOf } from '../support/images.js';
import { type RegistryProxy, startRegistryProxy } from '../support/registry-proxy.js';
import { type Sandbox, must, openSandbox } from '../support/sandbox.js';
import { startSiphonService } from '../../bench/programs/siphon-service.js';

const MIB = 1 << 20;
const big = Array.from({ length: 5 }, (_, n) => noise(4 * MIB, `big ${n}`));
const entries = [
  dir('data'),
  ...big.map((content, n) => file(`data/big-${n}`, content)),
  ...Array.from({ length: 200 }, (_, n) => file(`data/small-${n}`, noise(1000, `small ${n}`))),
];

let shared: Sandbox;
let image: BuiltImage;
let tar: Buffer;
let registry: DockerRegistry;
let proxy: RegistryProxy;
let source: string;

beforeAll(async () => {
  shared = await openSandbox();
  tar = await tarOf(entries);
  image = await buildLayout(join(shared.directory, 'layout'), {
    tag: 'latest',
    layers: [tar],
    compression: 'none',
  });
  registry = await startDockerRegistry();
  proxy = await startRegistryProxy(registry.host);
  source = await push(image.layout, 'plain');
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
  await shared[Symbol.asyncDispose]();
});

/** With the layers as they are; left to itself, skopeo compresses them. */
async function push(layout: string, name: string): Promise<string> {
  const to = [`oci:${layout}:latest`, `docker://${registry.host}/${name}:latest`];
  await must('skopeo', 'copy', '-q', '--preserve-digests', '--dest-tls-verify=false', ...to);
  return `docker://${proxy.host}/${name}:latest`;
}

async function withMount<T>(
  sandbox: Sandbox,
  from: string,
  use: (directory: string) => Promise<T>,
): Promise<T> {
  const directory = await sandbox.folder('mnt');
  const outcome = await sandbox.siphon('--fill-after', 'never', 'mount', from, directory);
  expect(outcome, outcome.stderr).toMatchObject({ code: 0 });
  try {
    return await use(directory);
  } finally {
    await sandbox.siphon('umount', directory);
    expect(await sandbox.mounts()).toEqual([]);
  }
}

/** Lines of the log that tell why contents are not given, each with the layer's name. */
async function complaints(sandbox: Sandbox): Promise<string[]> {
  const log = await readFile(join(sandbox.root, 'logs/mount.log'), 'utf8');
  const name = image.layers[0]?.digest ?? '';
  const lines = log.split('\n').filter((line) => line.includes('Cannot give contents of layer'));
  return lines.filter((line) => line.includes(name));
}

const find = (directory: string): Promise<string> =>
  must('find', directory, '-type', 'f', '-printf', '%P %s %i\n');
const blobRequests = (): string[] => proxy.requests.filter((line) => line.includes('/blobs/'));

/** A layer with a shell and what it calls. */
async function shellTar(sandbox: Sandbox): Promise<Buffer> {
  const { layout, layers } = await writeSmallLayout(sandbox, 'none');
  const [digest = ''] = layers.map((layer) => digestHex(layer.digest));
  return readFile(join(layout, 'blobs/sha256', digest));
}

describe('an uncompressed layer of an image', () => {
  it('is mounted and looked through by its headers, and read once it was checked whole', async () => {
    await using sandbox = await openSandbox();
    await withMount(sandbox, source, async (directory) => {
      const before = await find(directory);
      expect(before.split('\n')).toHaveLength(big.length + 200 + 1);
      expect(proxy.sent).toBeLessThan(tar.length / 25);
      expect(blobRequests().length).toBeLessThan(20);
      const [drawn, requests] = [proxy.sent, blobRequests().length];
      expect(await readFile(join(directory, 'data/small-7'))).toEqual(noise(1000, 'small 7'));
      expect(proxy.sent - drawn).toBe(tar.length);
      expect(blobRequests()).toHaveLength(requests + 1);
      await Promise.all(
        big.map(async (content, n) =>
          expect(content.equals(await readFile(join(directory, `data/big-${n}`)))).toBe(true),
        ),
      );
      expect(blobRequests()).toHaveLength(requests + 1);
      expect(await find(directory)).toBe(before);
    });
    // A later mount is of the complete index, and draws nothing.
    proxy.requests.length = 0;
    await withMount(sandbox, source, async (directory) =>
      expect(await readFile(join(directory, 'data/small-8'))).toEqual(noise(1000, 'small 8')),
    );
    expect(blobRequests()).toEqual([]);
  }, 60_000);

  it('gives no byte of another layer, and its own once they are there', async () => {
    await using sandbox = await openSandbox();
    proxy.alter = (line, bytes, { offset, range }) => {
      const at = 10 * MIB - offset;
      if (line.includes('/blobs/') && !range && at >= 0 && at < bytes.length)
        bytes[at] = (bytes[at] ?? 0) ^ 1;
    };
    await withMount(sandbox, source, async (directory) => {
      const before = await find(directory);
      for (const name of ['small-7', 'big-1', 'small-8'])
        await expect(readFile(join(directory, 'data', name))).rejects.toMatchObject({
          code: 'EIO',
        });
      expect(await find(directory)).toBe(before);
    });
    // The index and the content store look at it side by side, and each says so in its own words.
    const wrong = /its (?:digest is|bytes have digest) sha256:/;
    expect(await complaints(sandbox)).toEqual([expect.stringMatching(wrong)]);
    proxy.alter = () => undefined;
    await withMount(sandbox, source, async (directory) =>
      expect(await readFile(join(directory, 'data/small-7'))).toEqual(noise(1000, 'small 7')),
    );
  }, 60_000);

  it('gives nothing where its headers are not those of the blob', async () => {
    await using sandbox = await openSandbox();
    const mark = Buffer.from('small-12\0');
    proxy.alter = (_, bytes, { range }) => {
      const at = range ? bytes.indexOf(mark) : -1;
      // The same letters in another order: the checksum stays.
      if (at >= 0) bytes.write('small-21', at);
    };
    await withMount(sandbox, source, async (directory) => {
      expect(await readdir(join(directory, 'data'))).not.toContain('small-12');
      for (const name of ['small-7', 'small-21'])
        await expect(readFile(join(directory, 'data', name))).rejects.toMatchObject({
          code: 'EIO',
        });
    });
    expect(await complaints(sandbox)).toEqual([
      expect.stringMatching(/Cannot trust index .*: row \d+ of its \w+ table/),
    ]);
  }, 60_000);

  it('can be read when the registry was gone for a while', async () => {
    await using sandbox = await openSandbox();
    await withMount(sandbox, source, async (directory) => {
      proxy.before = () => Promise.resolve(503);
      setTimeout(() => (proxy.before = () => Promise.resolve()), 1500);
      expect(await readFile(join(directory, 'data/small-7'))).toEqual(noise(1000, 'small 7'));
    });
  }, 60_000);
});

describe('a bare tar', () => {
  it('behind a URL is read by ranges, and in one version only', async () => {
    let version = '"1"';
    let sent = 0;
    const server = createServer((request, response) => {
      const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
      const last = range?.[2] ? Number(range[2]) : tar.length - 1;
      const bytes = tar.subarray(Number(range?.[1] ?? 0), last + 1);
      sent += bytes.length;
      response.writeHead(range ? 206 : 200, {
        etag: version,
        'content-length': bytes.length,
        ...(range && { 'content-range': `bytes ${range[1]}-${last}/${tar.length}` }),
      });
      response.end(bytes);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      await using sandbox = await openSandbox();
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/layer.tar`;
      await withMount(sandbox, url, async (directory) => {
        await find(directory);
        expect(sent).toBeLessThan(tar.length / 25);
        expect(await readFile(join(directory, 'data/small-7'))).toEqual(noise(1000, 'small 7'));
        expect(sent).toBeLessThan(tar.length / 4);
        version = '"2"';
        await expect(readFile(join(directory, 'data/big-1'))).rejects.toMatchObject({
          code: 'EIO',
        });
      });
    } finally {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }, 60_000);

  it('in a file is read where it lies, and in one version only', async () => {
    await using sandbox = await openSandbox();
    const path = join(sandbox.directory, 'layer.tar');
    await writeFile(path, tar);
    const [lazily, built] = await withMount(sandbox, path, async (directory) => {
      const files = await find(directory);
      expect(big[2]?.equals(await readFile(join(directory, 'data/big-2')))).toBe(true);
      const outcome = await sandbox.siphon('index', 'build', path);
      expect(outcome, outcome.stderr).toMatchObject({ code: 0 });
      expect(await readFile(join(directory, 'data/small-9'))).toEqual(noise(1000, 'small 9'));
      return [files, await find(directory)];
    });
    expect(built).toBe(lazily);
    const verified = await sandbox.siphon('index', 'verify', path);
    expect(verified, verified.stderr).toMatchObject({ code: 0 });
    await using other = await openSandbox();
    await withMount(other, path, async (directory) => {
      const handle = await open(path, 'r+');
      await handle.write('changed', tar.length - 3 * MIB);
      await handle.close();
      await expect(readFile(join(directory, 'data/big-4'))).rejects.toMatchObject({ code: 'EIO' });
    });
  }, 60_000);
});

describe('through containerd', () => {
  it('such a layer is served lazily, and across a restart', async () => {
    await using sandbox = await openSandbox();
    const config = join(sandbox.directory, 'unfilled.toml');
    await writeFile(config, 'smallest_lazy_layer = 0\nfill_after = "never"\n');
    let siphon = await startSiphonService(sandbox, '--config', config);
    let containerd: Containerd | undefined;
    try {
      containerd = await startContainerd({ snapshotters: { siphon: siphon.address } });
      const { layout } = await buildLayout(join(sandbox.directory, 'layout'), {
        tag: 'latest',
        layers: [await shellTar(sandbox), tar],
        compression: 'none',
      });
      await push(layout, 'run');
      const reference = `${proxy.host}/run:latest`;
      proxy.sent = 0;
      const pull = ['images', 'rpull', '--snapshotter', 'siphon', '--plain-http', reference];
      await containerd.ctrRemote(pull);
      expect(proxy.sent).toBeLessThan(tar.length / 4);
      await siphon.stop('SIGKILL');
      siphon = await startSiphonService(sandbox, '--config', config);
      await untilReconnected(containerd, 'siphon');
      const command = ['sh', '-c', 'ls /data | wc -l; wc -c < /data/big-3; cat /data/small-3'];
      const run = ['--snapshotter', 'siphon', reference, 'test', ...command];
      const printed = await containerd.runToEnd(run);
      expect(printed.startsWith(`205\n${4 * MIB}\n`)).toBe(true);
      expect(siphon.log()).toContain('"layer is here as a whole');
    } finally {
      await containerd?.close();
      await siphon.stop();
    }
  }, 120_000);
});

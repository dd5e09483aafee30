import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { digestHex } from '#src/common/digest.js';
import { mediaTypes } from '#src/remote/descriptor.js';
import type { Registry } from '#src/remote/registry.js';
import { type DockerRegistry, startDockerRegistry } from '../../bench/programs/docker-registry.js';
import {
  blobOf,
  collect,
  containing,
  emptyConfig,
  failureOf,
  openRegistry,
  pushImage,
  randomBlob,
  signal,
} from './helpers.js';

let server: DockerRegistry;
let registry: Registry;

beforeAll(async () => {
  server = await startDockerRegistry();
  registry = openRegistry(server.host);
});
afterAll(async () => {
  await registry?.close();
  await server?.close();
});

describe('against docker-registry', () => {
  test('a pushed image comes back by tag and by digest', async () => {
    const manifest = await pushImage(registry, [randomBlob(100), randomBlob(3)], 'v1');
    const byTag = await registry.fetchManifest({ tag: 'v1' }, signal());
    expect(byTag.bytes.equals(manifest.bytes)).toBe(true);
    expect(byTag.descriptor).toEqual(manifest.descriptor);
    const { digest } = manifest.descriptor;
    expect(await registry.fetchManifest({ digest }, signal())).toEqual(byTag);
  });

  test('an index comes back as such', async () => {
    const manifest = await pushImage(registry, [randomBlob(10)], 'in-index');
    const platform = { architecture: 'amd64', os: 'linux' };
    const manifests = [{ ...manifest.descriptor, platform }];
    const index = { schemaVersion: 2, mediaType: mediaTypes.dockerList, manifests };
    const { bytes } = blobOf(JSON.stringify(index));
    await registry.pushManifest({ tag: 'index' }, bytes, mediaTypes.dockerList, signal());
    const fetched = await registry.fetchManifest({ tag: 'index' }, signal());
    expect(fetched.descriptor.mediaType).toBe(mediaTypes.dockerList);
  });

  test('blobs: pushed from memory and from a stream, asked for, read in parts', async () => {
    const { descriptor, bytes } = randomBlob(300_000);
    expect(await registry.hasBlob(descriptor, signal())).toBe(false);
    async function* body() {
      yield bytes.subarray(0, 100_000);
      yield bytes.subarray(100_000);
    }
    await registry.pushBlob(descriptor, body, signal());
    expect(await registry.hasBlob(descriptor, signal())).toBe(true);
    await registry.pushBlob(descriptor, bytes, signal());

    expect((await registry.fetchBlob(descriptor, signal())).equals(bytes)).toBe(true);
    const source = registry.blobSource(descriptor);
    expect(source).toMatchObject({ size: 300_000, local: false });
    expect(source.name).toBe(`${server.host}/team/app@${descriptor.digest}`);
    const part = await source.read(1234, 200_000, signal());
    expect(part.equals(bytes.subarray(1234, 201_234))).toBe(true);
    expect((await source.read(299_999, 1, signal())).equals(bytes.subarray(299_999))).toBe(true);
    expect(await source.read(300_000, 0, signal())).toHaveLength(0);
    expect((await collect(source.stream(signal()))).equals(bytes)).toBe(true);
    await source.close();
  });

  test('an empty blob', async () => {
    const { descriptor, bytes } = blobOf('');
    await registry.pushBlob(descriptor, bytes, signal());
    expect(await registry.fetchBlob(descriptor, signal())).toHaveLength(0);
  });

  test('many reads at once', async () => {
    const { descriptor, bytes } = randomBlob(1_000_000);
    await registry.pushBlob(descriptor, bytes, signal());
    const source = registry.blobSource(descriptor);
    const offsets = Array.from({ length: 200 }, (_, index) => index * 5000);
    const parts = await Promise.all(offsets.map((offset) => source.read(offset, 5000, signal())));
    expect(Buffer.concat(parts).equals(bytes)).toBe(true);
  });

  test('reads out of bounds are refused without asking', async () => {
    const source = registry.blobSource(randomBlob(10).descriptor);
    await expect(source.read(5, 6, signal())).rejects.toMatchObject({ code: 'invalid' });
    await expect(source.read(-1, 1, signal())).rejects.toMatchObject({ code: 'invalid' });
  });

  test('what is not there is not found, in the registry’s words', async () => {
    const error = await failureOf(registry.fetchManifest({ tag: 'none' }, signal()));
    expect(error).toMatchObject({ code: 'not-found' });
    expect(error.message).toBe(
      `Cannot read manifest "${server.host}/team/app:none": "${server.host}" answers 404 (MANIFEST_UNKNOWN: manifest unknown), expected 200`,
    );
    const { descriptor } = randomBlob(5);
    await expect(registry.fetchBlob(descriptor, signal())).rejects.toMatchObject({
      code: 'not-found',
    });
    const source = registry.blobSource(descriptor);
    await expect(source.read(0, 5, signal())).rejects.toMatchObject({ code: 'not-found' });
  });

  test('an upload with other bytes than its digest is refused', async () => {
    const { descriptor } = randomBlob(5);
    const pushed = registry.pushBlob(descriptor, Buffer.from('other'), signal());
    await expect(pushed).rejects.toMatchObject({ code: 'failed-precondition' });
  });

  test('a failing source of an upload is told as it is', async () => {
    const { descriptor } = randomBlob(1000);
    // oxlint-disable-next-line require-yield
    async function* body(): AsyncGenerator<Uint8Array> {
      throw new RangeError('the source broke');
    }
    await expect(registry.pushBlob(descriptor, body, signal())).rejects.toThrow('the source broke');
  });

  test('a manifest under another digest is refused before it is sent', async () => {
    const { digest } = randomBlob(3).descriptor;
    const pushed = registry.pushManifest(
      { digest },
      Buffer.from('{}'),
      mediaTypes.ociManifest,
      signal(),
    );
    await expect(pushed).rejects.toMatchObject({ code: 'invalid' });
  });

  test('a blob lost from the storage is an error, not other bytes', async () => {
    const { descriptor, bytes } = randomBlob(50);
    await registry.pushBlob(descriptor, bytes, signal());
    const hex = digestHex(descriptor.digest);
    const path = `data/docker/registry/v2/blobs/sha256/${hex.slice(0, 2)}/${hex}`;
    await rm(join(server.folder, path), { recursive: true });
    await expect(registry.fetchBlob(descriptor, signal())).rejects.toMatchObject({
      code: 'not-found',
    });
  });

  test('a cancelled caller gets its error at once, and others go on', async () => {
    const controller = new AbortController();
    const cancelled = registry.fetchManifest({ tag: 'none' }, controller.signal);
    controller.abort();
    await expect(cancelled).rejects.toMatchObject({ code: 'cancelled' });
    await expect(
      registry.hasBlob(emptyConfig.descriptor, AbortSignal.abort()),
    ).rejects.toMatchObject({ code: 'cancelled' });
    expect(await registry.hasBlob(emptyConfig.descriptor, signal())).toBe(true);
  });
});

test('a registry that is down is unavailable, naming the host', async () => {
  const free = createServer().listen(0, '127.0.0.1');
  await once(free, 'listening');
  const host = `127.0.0.1:${(free.address() as AddressInfo).port}`;
  free.close();
  const down = openRegistry(host);
  await expect(down.fetchManifest({ tag: 'x' }, signal())).rejects.toMatchObject({
    code: 'unavailable',
    message: `Cannot reach "${host}": connection refused`,
  });
  await down.close();
});

test('a host that does not resolve is unavailable', async () => {
  const lost = openRegistry('no-such-host.invalid');
  await expect(lost.fetchManifest({ tag: 'x' }, signal())).rejects.toMatchObject({
    code: 'unavailable',
    message: containing('"no-such-host.invalid"'),
  });
  await lost.close();
});

test('TLS to a registry without it is told with the way out', async () => {
  const registry = openRegistry(server.host, { plainHttp: false });
  await expect(registry.fetchManifest({ tag: 'x' }, signal())).rejects.toMatchObject({
    code: 'unavailable',
    hint: containing('--plain-http'),
  });
  await registry.close();
});

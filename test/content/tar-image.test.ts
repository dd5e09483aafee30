import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { digestOf } from '#src/common/digest.js';
import { ContentStore } from '#src/content/content-store.js';
import { type Image, openImage } from '#src/content/image.js';
import { openOrigin } from '#src/content/layer-origin.js';
import { openLocation } from '#src/content/location.js';
import { parseSource } from '#src/content/source.js';
import { mediaTypes } from '#src/remote/descriptor.js';
import { collect } from '../support/collect.js';
import { file, noise, tarOf } from '../support/images.js';
import { type TemporaryFolder, temporaryFolder } from '../support/temporary-folder.js';

const { signal } = new AbortController();

let folder: TemporaryFolder;
let store: ContentStore;
let tar: Buffer;
beforeEach(async () => {
  folder = await temporaryFolder();
  store = await ContentStore.open(folder.path);
  tar = await tarOf([file('a', noise(10_000))]);
});
afterEach(() => folder[Symbol.asyncDispose]());

function fail(): never {
  throw new Error('no layer');
}

function open(source: string, platform?: string): Promise<Image> {
  return openImage(parseSource(source), {
    store,
    signal,
    ...(platform === undefined ? {} : { platform }),
  });
}

async function bytesOf(image: Image): Promise<Buffer> {
  const [layer] = image.layers;
  if (layer === undefined) return fail();
  const blob = await openOrigin(layer.origin, layer.descriptor);
  try {
    return await collect(blob.stream(signal));
  } finally {
    await blob.close();
  }
}

describe('a tar file', () => {
  test('is an image of one layer', async () => {
    const path = join(folder.path, 'layer.tar');
    await writeFile(path, tar);
    const image = await open(path, 'linux/arm64');
    expect(image.layers).toEqual([
      {
        descriptor: {
          mediaType: mediaTypes.ociLayer,
          digest: expect.stringMatching(/^sha256:/) as string,
          size: tar.length,
        },
        identity: 'location',
        origin: { kind: 'file', path },
      },
    ]);
    expect(image.config).toMatchObject({ os: 'linux', architecture: 'arm64', config: { Cmd: [] } });
    expect(await bytesOf(image)).toEqual(tar);
  });

  test('has no diff id before indexing where it is compressed', async () => {
    const path = join(folder.path, 'layer.tar.gz');
    const gzip = gzipSync(tar);
    await writeFile(path, gzip);
    const [layer] = (await open(path)).layers;
    expect(layer?.diffId).toBeUndefined();
    expect(layer?.descriptor).toMatchObject({
      mediaType: mediaTypes.ociLayerGzip,
      digest: digestOf(gzip),
    });
  });

  test('is hashed anew when it has changed', async () => {
    const path = join(folder.path, 'layer.tar.gz');
    await writeFile(path, gzipSync(tar));
    await open(path);
    const other = Buffer.from(tar);
    other[600] = (other[600] ?? 0) ^ 1;
    await writeFile(path, gzipSync(other));
    expect((await open(path)).layers[0]?.descriptor.digest).toBe(digestOf(gzipSync(other)));
  });

  test('is another layer when it has changed, and is read in one version only', async () => {
    const path = join(folder.path, 'layer.tar');
    await writeFile(path, tar);
    const nameOf = async () => (await open(path)).layers[0]?.descriptor.digest ?? digestOf('');
    const name = await nameOf();
    expect(await nameOf()).toBe(name);
    const origin = { kind: 'file', path } as const;
    const blob = await openLocation(origin, name, { signal });
    expect(await blob.read(0, 512, signal)).toEqual(tar.subarray(0, 512));
    await writeFile(path, noise(tar.length));
    await expect(blob.read(0, 512, signal)).rejects.toMatchObject({ code: 'corrupt' });
    await expect(collect(blob.stream(signal))).rejects.toMatchObject({ code: 'corrupt' });
    await blob.close();
    expect(await nameOf()).not.toBe(name);
  });

  test('says so where there is none', async () => {
    await expect(open(join(folder.path, 'layer.tar'))).rejects.toMatchObject({ code: 'not-found' });
    await expect(open(`${folder.path}/`)).rejects.toThrow(/it is no regular file/);
  });
});

describe('a tar behind a URL', () => {
  let server: Server;
  let base: string;
  let version = '"1"';
  beforeEach(async () => {
    server = createServer((request, response) => {
      if (!request.url?.startsWith('/layer')) {
        response.writeHead(404).end();
        return;
      }
      const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
      const first = Number(range?.[1] ?? 0);
      const last = range?.[2] ? Number(range[2]) : tar.length - 1;
      const bytes = tar.subarray(first, last + 1);
      response.writeHead(range ? 206 : 200, {
        etag: version,
        'content-length': bytes.length,
        ...(range ? { 'content-range': `bytes ${first}-${last}/${tar.length}` } : {}),
      });
      response.end(bytes);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterEach(() => new Promise((resolve) => server.close(resolve)));

  test('is an image of one layer, named by place and version', async () => {
    const url = `${base}/layer.tar?signature=secret`;
    const image = await open(url);
    expect(image.name).toBe(`${base}/layer.tar`);
    const [layer] = image.layers;
    expect(layer).toMatchObject({
      descriptor: { mediaType: mediaTypes.ociLayer, size: tar.length },
      identity: 'location',
      origin: { kind: 'url', url },
    });
    expect(layer?.descriptor.digest).not.toBe(digestOf(tar));
    expect(await bytesOf(image)).toEqual(tar);
    expect((await open(url)).layers).toEqual(image.layers);
    const { origin, descriptor } = image.layers[0] ?? fail();
    const openAgain = () => openLocation(origin, descriptor.digest, { signal });
    await (await openAgain()).close();
    version = '"2"';
    await expect(openAgain()).rejects.toMatchObject({ code: 'corrupt' });
    expect((await open(url)).layers[0]?.descriptor.digest).not.toBe(layer?.descriptor.digest);
  });

  test('says so where there is none', async () => {
    await expect(open(`${base}/none.tar?signature=secret`)).rejects.toMatchObject({
      code: 'not-found',
      message: expect.not.stringContaining('secret'),
    });
  });
});

import { readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { digestHex, digestOf } from '#src/common/digest.js';
import { ContentStore } from '#src/content/content-store.js';
import { type Image, type OpenImageOptions, openImage } from '#src/content/image.js';
import { openOrigin } from '#src/content/layer-origin.js';
import { parseSource } from '#src/content/source.js';
import { type LayoutServer, serveLayout } from '#src/registry-server/serve-layout.js';
import { collect } from '../support/collect.js';
import {
  type DockerRegistry,
  registryLogin,
  startDockerRegistry,
} from '../../bench/programs/docker-registry.js';
import { type BuiltImage, buildIndexLayout, buildLayout, file, noise } from '../support/images.js';
import { type TemporaryFolder, temporaryFolder } from '../support/temporary-folder.js';
import { skopeoCopy } from '../support/tools.js';

const { signal } = new AbortController();
const layers = [[file('a', 'a')], [file('b', noise(50_000))]];

let folder: TemporaryFolder;
let layout: string;
let built: BuiltImage;
let store: ContentStore;
beforeEach(async () => {
  folder = await temporaryFolder();
  layout = join(folder.path, 'layout');
  built = await buildLayout(layout, { tag: 'v1', layers, config: { Cmd: ['x'] } });
  store = await ContentStore.open(folder.path);
});
afterEach(() => folder[Symbol.asyncDispose]());

/** Opens, checks nothing, closes. */
async function open(source: string, options: Partial<OpenImageOptions> = {}): Promise<Image> {
  const image = await openImage(parseSource(source), { store, signal, ...options });
  opened.push(image);
  return image;
}
const opened: Image[] = [];
afterEach(async () => {
  for (const image of opened.splice(0)) await image.close();
});

async function expectLayers(image: Image): Promise<void> {
  expect(image.layers.map(({ diffId }) => diffId)).toEqual(built.diffIds);
  expect(image.layers.map(({ descriptor }) => descriptor)).toEqual(built.layers);
  for (const layer of image.layers) {
    const blobs = [
      await image.openLayer(layer, signal),
      await openOrigin(layer.origin, layer.descriptor),
    ];
    for (const blob of blobs) {
      expect(blob.local).toBe(false);
      expect(digestOf(await collect(blob.stream(signal)))).toBe(layer.descriptor.digest);
      await blob.close();
    }
  }
}

describe('an image in our registry server', () => {
  let server: LayoutServer;
  beforeEach(async () => {
    server = await serveLayout({ layout });
  });
  afterEach(() => server.close());

  test('opens by tag and by digest, fetching each document once', async () => {
    const image = await open(`${server.host}/app:v1`);
    expect(image.name).toBe(`${server.host}/app:v1`);
    expect(image.descriptor).toMatchObject(built.manifest);
    expect(image.config.config.Cmd).toEqual(['x']);
    await expectLayers(image);
    const before = server.stats.requests;
    await open(`${server.host}/app:v1`);
    expect(server.stats.requests - before).toBe(1);
    await open(`${server.host}/app@${built.manifest.digest}`);
    expect(server.stats.requests - before).toBe(1);
  });

  test('by digest alone, without having seen the tag', async () => {
    const image = await open(`docker://${server.host}/app@${built.manifest.digest}`);
    expect(image.layers).toHaveLength(2);
  });

  test('needs no registry for what is known', async () => {
    await open(`${server.host}/app:v1`);
    const { host } = server;
    await server.close();
    const image = await open(`${host}/app:v1`);
    expect(image.layers.map(({ descriptor }) => descriptor)).toEqual(built.layers);
    expect(await image.fetchIndexes(signal)).toEqual(new Map());
    server = await serveLayout({ layout });
  }, 60_000);

  test('opens a stored layer from the store', async () => {
    const image = await open(`${server.host}/app:v1`);
    const [layer] = image.layers;
    if (layer === undefined) throw new Error('no layer');
    const path = join(layout, 'blobs/sha256', digestHex(layer.descriptor.digest));
    await store.put(await readFile(path));
    const blob = await image.openLayer(layer, signal);
    expect(blob.local).toBe(true);
    await blob.close();
  });

  test('chooses a platform from an index of indexes', async () => {
    const images = ['amd64', 's390x'].map((architecture) => ({
      platform: { os: 'linux', architecture },
      layers: [[file('architecture', architecture)]],
    }));
    const { images: made } = await buildIndexLayout(layout, { tag: 'all', nested: true, images });
    const image = await open(`${server.host}/app:all`, { platform: 'linux/s390x' });
    expect(image.descriptor?.digest).toBe(made[1]?.manifest.digest);
    await expect(open(`${server.host}/app:all`, { platform: 'linux/arm64' })).rejects.toThrow(
      `Cannot open image "${server.host}/app:all" for platform linux/arm64: it has linux/amd64, linux/s390x`,
    );
  });

  test('says which reference is unknown', async () => {
    await expect(open(`${server.host}/app:none`)).rejects.toMatchObject({
      code: 'not-found',
      message: `Cannot find image "${server.host}/app:none": the registry does not have it`,
    });
  });

  test.each(['config', 'manifest'] as const)('refuses a %s with other bytes', async (which) => {
    const { digest } = built[which];
    const path = join(layout, 'blobs/sha256', digestHex(digest));
    const text = await readFile(path, 'utf8');
    await writeFile(path, text.replace(/sha256:[0-9a-f]{4}/, 'sha256:0bad'));
    const source = `${server.host}/app@${built.manifest.digest}`;
    await expect(open(source)).rejects.toMatchObject({ code: 'corrupt' });
    expect(await store.has(digest)).toBe(false);
  });

  test('refuses a config cut short', async () => {
    const { digest } = built.config;
    await truncate(join(layout, 'blobs/sha256', digestHex(digest)), 20);
    await expect(open(`${server.host}/app:v1`)).rejects.toMatchObject({ code: 'corrupt' });
  });
});

describe("an image in Debian's registry", () => {
  let registry: DockerRegistry;
  beforeAll(async () => {
    registry = await startDockerRegistry();
  });
  afterAll(() => registry.close());

  test.each(['oci', 'v2s2'])('opens as skopeo pushed it (%s)', async (format) => {
    const reference = `${registry.host}/team/app:${format}`;
    await skopeoCopy(`oci:${layout}:v1`, `docker://${reference}`, '--format', format);
    const image = await open(reference);
    expect(image.layers.map(({ diffId }) => diffId)).toEqual(built.diffIds);
    expect(image.layers.map(({ descriptor }) => descriptor.digest)).toEqual(
      built.layers.map(({ digest }) => digest),
    );
    expect(image.manifest?.mediaType).toMatch(format === 'oci' ? /oci/ : /docker/);
    for (const layer of image.layers) {
      const blob = await image.openLayer(layer, signal);
      expect(digestOf(await collect(blob.stream(signal)))).toBe(layer.descriptor.digest);
    }
  });

  test('says which repository is unknown', async () => {
    await expect(open(`${registry.host}/nobody/knows:v1`)).rejects.toMatchObject({
      code: 'not-found',
    });
  });
});

test('says so where credentials are missing or wrong', async () => {
  const registry = await startDockerRegistry({ auth: 'basic' });
  try {
    const { username, password } = registryLogin;
    const reference = `${registry.host}/app:v1`;
    await skopeoCopy(
      `oci:${layout}:v1`,
      `docker://${reference}`,
      '--dest-creds',
      `${username}:${password}`,
    );
    const wrong = { username, password: 'guessed' };
    for (const credentials of [undefined, wrong]) {
      const failure = open(reference, { access: { credentials: async () => credentials } });
      await expect(failure).rejects.toMatchObject({ code: 'unauthorized' });
      await expect(failure).rejects.not.toThrow(/guessed/);
    }
    const image = await open(reference, { access: { credentials: async () => registryLogin } });
    expect(image.layers).toHaveLength(2);
  } finally {
    await registry.close();
  }
});

test('says so where the registry does not answer', async () => {
  const server = await serveLayout({ layout });
  await server.close();
  await expect(open(`${server.host}/app:v1`)).rejects.toMatchObject({
    code: 'unavailable',
    message: expect.stringContaining(server.host),
  });
}, 60_000);

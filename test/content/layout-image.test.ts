import { appendFile, mkdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { digestHex, digestOf } from '#src/common/digest.js';
import { ContentStore } from '#src/content/content-store.js';
import { type Image, openImage } from '#src/content/image.js';
import { openOrigin } from '#src/content/layer-origin.js';
import { parseSource } from '#src/content/source.js';
import { refAnnotation } from '#src/content/layout.js';
import { createLayout, listInIndex, writeBlob } from '#src/content/layout-writer.js';
import { type Descriptor, mediaTypes } from '#src/remote/descriptor.js';
import { collect } from '../support/collect.js';
import {
  type BuiltImage,
  buildIndexLayout,
  buildLayout,
  dir,
  file,
  noise,
  tarOf,
} from '../support/images.js';
import { type TemporaryFolder, temporaryFolder } from '../support/temporary-folder.js';
import { skopeoCopy, tool } from '../support/tools.js';

const { signal } = new AbortController();
const layers = [
  [dir('etc'), file('etc/passwd', 'root:x:0:0::/:/bin/sh\n')],
  [file('noise', noise(100_000))],
];
const config = { Cmd: ['/bin/sh'], Env: ['A=1'] };

let folder: TemporaryFolder;
let layout: string;
let store: ContentStore;
beforeEach(async () => {
  folder = await temporaryFolder();
  layout = join(folder.path, 'layout');
  store = await ContentStore.open(folder.path);
});
afterEach(() => folder[Symbol.asyncDispose]());

function open(source: string, platform?: string): Promise<Image> {
  return openImage(parseSource(source), {
    store,
    signal,
    ...(platform === undefined ? {} : { platform }),
  });
}

function blobPath({ digest }: Descriptor): string {
  return join(layout, 'blobs/sha256', digestHex(digest));
}

/** All layer blobs, in both ways they can be opened, have the digests they are said to have. */
async function expectLayers(image: Image, tars: readonly Buffer[]): Promise<void> {
  expect(image.layers.map(({ diffId }) => diffId)).toEqual(tars.map(digestOf));
  for (const layer of image.layers) {
    expect(layer.identity).toBe('content');
    const again = JSON.parse(JSON.stringify(layer)) as typeof layer;
    const blobs = [
      await image.openLayer(layer, signal),
      await openOrigin(again.origin, again.descriptor),
    ];
    for (const blob of blobs) {
      expect(blob.size).toBe(layer.descriptor.size);
      expect(digestOf(await collect(blob.stream(signal)))).toBe(layer.descriptor.digest);
      await blob.close();
    }
  }
}

describe('an OCI layout', () => {
  test('opens by reference, and without one where it has one image', async () => {
    const built = await buildLayout(layout, { tag: ['v1', 'host/app:v1'], layers, config });
    for (const source of [`oci:${layout}:v1`, `oci:${layout}:host/app:v1`, `oci:${layout}`]) {
      const image = await open(source);
      expect(image.name).toBe(source);
      expect(image.descriptor).toMatchObject(built.manifest);
      expect(image.layers.map(({ descriptor }) => descriptor)).toEqual(built.layers);
      expect(image.config.config).toMatchObject(config);
      await expectLayers(image, built.tars);
    }
  });

  test('asks which where it has several', async () => {
    await buildLayout(layout, { tag: 'one', layers });
    await buildLayout(layout, { tag: 'two', layers: layers.slice(1) });
    await expect(open(`oci:${layout}`)).rejects.toMatchObject({
      code: 'usage',
      message: `Cannot choose an image in OCI layout "${layout}": it has one, two, expected one or a reference`,
    });
    await expect(open(`oci:${layout}:three`)).rejects.toMatchObject({
      code: 'not-found',
      message: `Cannot find "three" in OCI layout "${layout}": it has one, two, expected one of them`,
    });
  });

  test.each(['gzip', 'none'] as const)('keeps Docker media types (%s)', async (compression) => {
    const built = await buildLayout(layout, { layers, docker: true, compression });
    const image = await open(`oci:${layout}`);
    expect(image.layers.map(({ descriptor }) => descriptor.mediaType)).toEqual(
      built.layers.map(({ mediaType }) => mediaType),
    );
    await expectLayers(image, built.tars);
  });

  test('has origins that mean the same from every folder', async () => {
    await buildLayout(layout, { layers });
    const image = await open(`oci:${relative(process.cwd(), layout)}`);
    const [layer] = image.layers;
    expect(layer?.origin).toEqual({ kind: 'file', path: blobPath(present(layer).descriptor) });
  });

  test('says what is missing', async () => {
    await expect(open(`oci:${layout}`)).rejects.toThrow(/no such folder/);
    await mkdir(layout);
    await expect(open(`oci:${layout}`)).rejects.toThrow(/it has no file "oci-layout"/);
    await writeFile(join(layout, 'oci-layout'), '{"imageLayoutVersion":"9.0.0"}');
    await expect(open(`oci:${layout}`)).rejects.toThrow(/version is "9.0.0", expected "1.0.0"/);
    await writeFile(join(layout, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
    await expect(open(`oci:${layout}`)).rejects.toThrow(/it has no file "index.json"/);
    await writeFile(join(layout, 'index.json'), '{"schemaVersion":2,"manifests":[]}');
    await expect(open(`oci:${layout}`)).rejects.toThrow(/it has no image/);
  });

  test.each<[string, (built: BuiltImage) => Promise<void>, string, RegExp]>([
    [
      'a manifest with other bytes',
      async ({ manifest }) => {
        const text = await readFile(blobPath(manifest), 'utf8');
        await writeFile(blobPath(manifest), text.replace('layers', 'lasers'));
      },
      'corrupt',
      /its bytes have digest sha256:/,
    ],
    [
      'a config cut short',
      ({ config: { digest }, config: blob }) =>
        truncate(blobPath({ ...blob, digest }), blob.size - 1),
      'corrupt',
      /has \d+ bytes, expected \d+/,
    ],
    [
      'a layer cut short',
      ({ layers: [layer] }) => truncate(blobPath(present(layer)), 10),
      'corrupt',
      /has 10 bytes, expected \d+/,
    ],
    [
      'a layer that goes on',
      ({ layers: [layer] }) => appendFile(blobPath(present(layer)), 'x'),
      'corrupt',
      /has \d+ bytes, expected \d+/,
    ],
    [
      'no layer',
      ({ layers: [layer] }) => rm(blobPath(present(layer))),
      'not-found',
      /Cannot find blob/,
    ],
  ])('says so where it has %s', async (_, damage, code, message) => {
    await damage(await buildLayout(layout, { layers }));
    const opened = open(`oci:${layout}`);
    await expect(opened).rejects.toMatchObject({ code });
    await expect(opened).rejects.toThrow(message);
  });

  test('says so where config and manifest differ in the number of layers', async () => {
    const { manifest } = await buildLayout(layout, { layers });
    const document = JSON.parse(await readFile(blobPath(manifest), 'utf8')) as BuiltImage;
    const fewer = { ...document, layers: document.layers.slice(1) };
    const blob = await writeBlob(layout, Buffer.from(JSON.stringify(fewer)), manifest.mediaType);
    await listInIndex(layout, { ...blob, annotations: { [refAnnotation]: 'fewer' } }, signal);
    await expect(open(`oci:${layout}:fewer`)).rejects.toThrow(
      `Cannot open image "oci:${layout}:fewer": its config has 2 diff ids, expected 1, one for each layer`,
    );
  });

  test('leaves layers that must not be distributed where they are, with their media type', async () => {
    const { manifest } = await buildLayout(layout, { layers: layers.slice(1) });
    const document = JSON.parse(await readFile(blobPath(manifest), 'utf8')) as BuiltImage;
    const foreign = {
      mediaType: mediaTypes.dockerForeignLayer,
      digest: digestOf('elsewhere'),
      size: 9,
      urls: ['https://elsewhere.example/layer'],
    };
    const bytes = Buffer.from(JSON.stringify({ ...document, layers: [foreign] }));
    const blob = await writeBlob(layout, bytes, manifest.mediaType);
    await listInIndex(layout, { ...blob, annotations: { [refAnnotation]: 'foreign' } }, signal);
    const [layer] = (await open(`oci:${layout}:foreign`)).layers;
    expect(layer).toMatchObject({
      descriptor: foreign,
      origin: { kind: 'url', url: 'https://elsewhere.example/layer' },
    });
  });

  test('refuses what is no image', async () => {
    const config = await writeBlob(layout, Buffer.from('{}'), 'application/vnd.oci.empty.v1+json');
    const mediaType = mediaTypes.ociManifest;
    const chart = { schemaVersion: 2, mediaType, artifactType: 'a/chart', config, layers: [] };
    const blob = await writeBlob(layout, Buffer.from(JSON.stringify(chart)), mediaType);
    await createLayout(layout);
    await listInIndex(layout, blob, signal);
    await expect(open(`oci:${layout}`)).rejects.toMatchObject({
      code: 'unsupported',
      message: `Cannot open image "oci:${layout}": it is a "a/chart", expected a container image (OCI or Docker schema 2)`,
    });
  });

  test('keeps what others wrote into index.json', async () => {
    const { manifest } = await buildLayout(layout, { tag: 'v1', layers });
    const path = join(layout, 'index.json');
    const index = JSON.parse(await readFile(path, 'utf8')) as { manifests: object[] };
    const foreign = { ...index, x: 1, manifests: index.manifests.map((one) => ({ ...one, y: 2 })) };
    await writeFile(path, JSON.stringify(foreign));
    const entry = { ...manifest, annotations: { [refAnnotation]: 'v2' } };
    await listInIndex(layout, entry, signal);
    expect(JSON.parse(await readFile(path, 'utf8'))).toEqual({
      ...foreign,
      manifests: [...foreign.manifests, entry],
    });
  });

  test('opens what umoci made', async () => {
    await tool('umoci', 'init', '--layout', layout);
    await tool('umoci', 'new', '--image', `${layout}:made`);
    const tar = join(folder.path, 'layer.tar');
    await writeFile(tar, await tarOf([dir('usr'), file('usr/x', 'x')]));
    await tool('umoci', 'raw', 'add-layer', '--image', `${layout}:made`, tar);
    await tool('umoci', 'config', '--image', `${layout}:made`, '--config.cmd', 'hello');
    const image = await open(`oci:${layout}`);
    expect(image.config.config.Cmd).toEqual(['hello']);
    await expectLayers(image, [await readFile(tar)]);
  });
});

describe('a choice of platforms', () => {
  const platforms = [
    { os: 'linux', architecture: 'arm', variant: 'v6' },
    { os: 'linux', architecture: 'arm', variant: 'v7' },
    { os: 'linux', architecture: 'arm64' },
    { os: 'linux', architecture: 's390x' },
  ];
  const images = platforms.map((platform, at) => ({
    platform,
    layers: [[file('platform', String(at))]],
  }));

  test.each([
    ['linux/arm64', 2, false],
    ['linux/arm64', 2, true],
    ['linux/arm/v7', 1, false],
    ['linux/arm/v6', 0, true],
    ['linux/arm/v8', 1, false],
  ])('for %s takes image %i (nested: %s)', async (platform, at, nested) => {
    const built = await buildIndexLayout(layout, { tag: 'all', nested, images });
    const image = await open(`oci:${layout}:all`, platform);
    expect(image.descriptor?.digest).toBe(built.images[at]?.manifest.digest);
    expect(image.config).toMatchObject(present(platforms[at]));
  });

  test('lists what there is where nothing suits', async () => {
    await buildIndexLayout(layout, { tag: 'all', images });
    await expect(open(`oci:${layout}:all`, 'linux/riscv64')).rejects.toMatchObject({
      code: 'not-found',
      message: `Cannot open image "oci:${layout}:all" for platform linux/riscv64: it has linux/arm/v6, linux/arm/v7, linux/arm64, linux/s390x, expected that platform`,
    });
  });

  test('refuses a lone image for another platform', async () => {
    await buildLayout(layout, present(images[3]));
    await expect(open(`oci:${layout}`, 'linux/arm64')).rejects.toThrow(
      /for platform linux\/arm64: it has linux\/s390x/,
    );
    expect((await open(`oci:${layout}`, 'linux/s390x')).layers).toHaveLength(1);
  });
});

describe('an OCI archive', () => {
  test.each(['plain', 'gzip'])('is read in place as skopeo wrote it (%s)', async (kind) => {
    const built = await buildLayout(layout, { tag: 'v1', layers, config });
    const archive = join(folder.path, 'image.tar');
    await skopeoCopy(`oci:${layout}:v1`, `oci-archive:${archive}:v1`);
    if (kind === 'gzip') await writeFile(archive, gzipSync(await readFile(archive)));
    for (const source of [`oci-archive:${archive}`, `oci-archive:${archive}:v1`]) {
      const image = await open(source);
      expect(image.layers.map(({ descriptor }) => descriptor.digest)).toEqual(
        built.layers.map(({ digest }) => digest),
      );
      await expectLayers(image, built.tars);
    }
  });

  test('says so where it is cut, no tar, or missing', async () => {
    const archive = join(folder.path, 'image.tar');
    await expect(open(`oci-archive:${archive}`)).rejects.toMatchObject({ code: 'not-found' });
    await buildLayout(layout, { tag: 'v1', layers });
    await skopeoCopy(`oci:${layout}:v1`, `oci-archive:${archive}:v1`);
    await truncate(archive, 60_000);
    await expect(open(`oci-archive:${archive}`)).rejects.toMatchObject({
      code: 'corrupt',
      message: expect.stringContaining('it is cut short in'),
    });
    await writeFile(archive, noise(5000));
    await expect(open(`oci-archive:${archive}`)).rejects.toMatchObject({
      code: 'invalid',
      message: `Cannot open archive "${archive}": it is not a tar, expected one`,
    });
    await writeFile(archive, gzipSync(noise(5000)).subarray(0, 1000));
    await expect(open(`oci-archive:${archive}`)).rejects.toMatchObject({ code: 'corrupt' });
  });
});

function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('missing');
  return value;
}

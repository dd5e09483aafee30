/**
 * Images as others convert them for lazy pulling, with the tools that people use for it. What they show is
 * compared with the image they were made of.
 */

import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { digestHex, digestOf } from '#src/common/digest.js';
import { createLayout, listInIndex, writeBlob } from '#src/content/layout-writer.js';
import { blobFile, refAnnotation } from '#src/content/layout.js';
import { LayerIndex, type LayerInfo } from '#src/index/layer-index.js';
import { serveLayout } from '#src/registry-server/serve-layout.js';
import { type Descriptor, mediaTypes } from '#src/remote/descriptor.js';
import type { Manifest } from '#src/remote/manifest.js';
import { stargzOf } from '../index/toc/support/stargz-bytes.js';
import { ztocBytes, ztocPartsOf } from '../index/toc/support/ztoc-bytes.js';
import { type Containerd, startContainerd } from '../../bench/programs/containerd.js';
import { type DemoLayout, writeSmallLayout } from '../support/demo-layout.js';
import { type DockerRegistry, startDockerRegistry } from '../../bench/programs/docker-registry.js';
import { type TarEntry, file, hostPlatform, noise } from '../support/images.js';
import { type Outcome, type Sandbox, must, openSandbox } from '../support/sandbox.js';
import { type SiphonService, startSiphonService } from '../../bench/programs/siphon-service.js';
import { type Tree, readTree } from '../support/tree.js';

let shared: Sandbox;
let image: DemoLayout;
let registry: DockerRegistry;
let siphon: SiphonService;
let containerd: Containerd;
let expected: Tree;

beforeAll(async () => {
  shared = await openSandbox();
  image = await writeSmallLayout(shared);
  registry = await startDockerRegistry();
  siphon = await startSiphonService(shared);
  containerd = await startContainerd({ snapshotters: { siphon: siphon.address } });
  await must(
    'skopeo',
    'copy',
    '-q',
    '--dest-tls-verify=false',
    image.source,
    `docker://${name('plain')}`,
  );
  await containerd.ctr(['content', 'fetch', '--plain-http', name('plain')]);
  await using sandbox = await openSandbox();
  expected = await withMount(sandbox, image.source, readTree);
}, 120_000);

afterAll(async () => {
  await containerd?.close();
  await siphon?.stop();
  await registry?.close();
  const left = await shared.mounts();
  await shared[Symbol.asyncDispose]();
  expect(left).toEqual([]);
}, 60_000);

function name(tag: string): string {
  return `${registry.host}/formats:${tag}`;
}

const converted = new Map<string, Promise<string>>();

/** The image as one option of ctr-remote converts it, in the registry. */
function convert(option: string): Promise<string> {
  const known = converted.get(option) ?? convertAnew(option);
  converted.set(option, known);
  return known;
}

async function convertAnew(option: string): Promise<string> {
  const { ctr, ctrRemote } = containerd;
  const reference = name(option.slice('--'.length));
  await ctrRemote(['images', 'convert', '--oci', option, name('plain'), reference]);
  await ctr(['images', 'push', '--plain-http', reference]);
  await ctr(['images', 'rm', '--sync', reference]);
  return reference;
}

async function withMount<T>(
  sandbox: Sandbox,
  source: string,
  use: (directory: string) => Promise<T>,
): Promise<T> {
  const directory = await sandbox.folder('mnt');
  succeeded(await sandbox.siphon('--fill-after', 'never', 'mount', source, directory));
  try {
    return await use(directory);
  } finally {
    succeeded(await sandbox.siphon('umount', directory));
  }
}

function succeeded(outcome: Outcome): void {
  expect(outcome, outcome.stderr).toMatchObject({ code: 0 });
}

/** What the indexes in a root say of their layers. */
async function indexesOf(root: string): Promise<LayerInfo[]> {
  const infos: LayerInfo[] = [];
  for (const entry of await readdir(join(root, 'layers'), { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    using index = LayerIndex.open(join(root, 'layers', entry.name, 'index.db'));
    infos.push(index.info);
  }
  return infos;
}

/** eStargz' table of contents has times in whole seconds. */
function inSeconds(tree: Tree): Tree {
  const rounded = Object.entries(tree).map(([path, entry]) => {
    const seconds = Math.round(Number(BigInt(entry.mtime ?? 0) / 1_000_000n) / 1000);
    return [path, { ...entry, mtime: String(seconds) }] as const;
  });
  return Object.fromEntries(rounded);
}

async function layoutOf(reference: string): Promise<string> {
  const layout = await shared.folder('converted');
  await must(
    'skopeo',
    'copy',
    '-q',
    '--src-tls-verify=false',
    `docker://${reference}`,
    `oci:${layout}:latest`,
  );
  return layout;
}

describe.each([
  ['estargz', '--estargz'],
  ['zstd-chunked', '--zstdchunked'],
])('an image converted with %s', (format, option) => {
  it('is mounted from its own tables of contents, and shows what the image shows', async () => {
    const reference = await convert(option);
    await using sandbox = await openSandbox();
    const tree = await withMount(sandbox, reference, readTree);
    expect(inSeconds(tree)).toEqual(inSeconds(expected));
    const indexes = await indexesOf(sandbox.root);
    expect(new Set(indexes.map((info) => info.format))).toEqual(new Set([format]));
    succeeded(await sandbox.siphon('index', 'verify', reference));
  }, 120_000);

  it('is drawn in small parts', async () => {
    const layout = await layoutOf(await convert(option));
    await using sandbox = await openSandbox();
    const server = await serveLayout({ layout, repository: 'converted' });
    try {
      await withMount(sandbox, `${server.host}/converted:latest`, async (directory) => {
        expect(await readFile(join(directory, 'etc/passwd'), 'utf8')).toContain('root');
      });
      expect(server.stats.blobBytesSent).toBeLessThan((await blobBytes(layout)) / 4);
    } finally {
      await server.close();
    }
  }, 60_000);

  it('becomes whole, is what its tables said, and then needs no registry', async () => {
    const tree = await readWhenWhole(await layoutOf(await convert(option)));
    expect(inSeconds(tree)).toEqual(inSeconds(expected));
  }, 60_000);

  it('is pulled lazily by containerd, and runs', async () => {
    const reference = await convert(option);
    const { ctr, ctrRemote, runToEnd } = containerd;
    await ctrRemote(['images', 'rpull', '--snapshotter', 'siphon', '--plain-http', reference]);
    const printed = await runToEnd(['--snapshotter', 'siphon', reference, 'test']);
    expect(printed).toBe('small files: 5\n');
    const formats = (await indexesOf(shared.root)).map((info) => info.format);
    expect(new Set(formats)).toEqual(new Set([format]));
    await ctr(['images', 'rm', '--sync', reference]);
    await expect.poll(() => indexesOf(shared.root)).toEqual([]);
  }, 60_000);
});

describe('an image that buildah pushed as zstd:chunked', () => {
  it('is mounted from its own tables of contents, and shows what the image shows', async () => {
    const folder = await shared.folder('buildah');
    const layout = await shared.folder('chunked');
    const stores = ['--root', join(folder, 'root'), '--runroot', join(folder, 'run')];
    const buildah = ['buildah', ...stores, '--storage-driver', 'vfs'] as const;
    const pulled = await must(...buildah, 'pull', '-q', '--tls-verify=false', name('plain'));
    const id = pulled.trim();
    const chunked = ['--compression-format', 'zstd:chunked', '--format', 'oci'];
    await must(...buildah, 'push', '-q', ...chunked, id, `oci:${layout}:latest`);
    await using sandbox = await openSandbox();
    expect(await withMount(sandbox, `oci:${layout}:latest`, readTree)).toEqual(expected);
    const indexes = await indexesOf(sandbox.root);
    expect(new Set(indexes.map((info) => info.format))).toEqual(new Set(['zstd-chunked']));
    succeeded(await sandbox.siphon('index', 'verify', `oci:${layout}:latest`));
  }, 120_000);
});

describe('an image with a SOCI index', () => {
  it.each([
    ['of version 1, which refers to it', 1],
    ['of version 2, which it names', 2],
  ])(
    '%s is mounted from its zTOCs, and shows what the image shows',
    async (_, version) => {
      const layout = await withSociIndex(version);
      await using sandbox = await openSandbox();
      const server = await serveLayout({ layout, repository: 'soci' });
      try {
        const reference = `${server.host}/soci:latest`;
        await withMount(sandbox, reference, async (directory) => {
          await readFile(join(directory, 'etc/passwd'));
        });
        expect(server.stats.blobBytesSent).toBeLessThan((await blobBytes(layout)) / 2);
        expect(await withMount(sandbox, reference, readTree)).toEqual(expected);
        succeeded(await sandbox.siphon('index', 'verify', reference));
      } finally {
        await server.close();
      }
      const indexes = await indexesOf(sandbox.root);
      const formats = new Set(indexes.map((info) => info.format));
      // The smallest layer has none, as SOCI leaves those out.
      expect(formats).toEqual(new Set(['soci', 'siphon']));
    },
    120_000,
  );

  it('becomes whole, is what its zTOCs said, and then needs no registry', async () => {
    expect(await readWhenWhole(await withSociIndex(2))).toEqual(expected);
  }, 60_000);
});

/** What a mount shows when its layers have come by themselves, were checked, and their server is gone. */
async function readWhenWhole(layout: string): Promise<Tree> {
  await using sandbox = await openSandbox();
  const server = await serveLayout({ layout, repository: 'filled' });
  const source = `${server.host}/filled:latest`;
  const directory = await sandbox.folder('mnt');
  const blobs = join(sandbox.root, 'content/blobs/sha256');
  const wanted = (await manifestOf(layout)).layers.map(({ digest }) => digestHex(digest));
  try {
    succeeded(await sandbox.siphon('--fill-after', '0', 'mount', source, directory));
    const expectAll = async (): Promise<void> =>
      expect(await readdir(blobs)).toEqual(expect.arrayContaining(wanted));
    await vi.waitFor(expectAll, { timeout: 30_000, interval: 100 });
  } finally {
    await server.close();
  }
  try {
    return await readTree(directory);
  } finally {
    succeeded(await sandbox.siphon('umount', directory));
  }
}

describe('an eStargz layer with a landmark', () => {
  it('has what stands before it here before anybody reads it', async () => {
    const first = noise(300_000, 'first');
    const layout = await withStargz([
      file('first', first),
      file('.prefetch.landmark', '\x0f'),
      file('later', noise(900_000, 'later')),
    ]);
    await using sandbox = await openSandbox();
    const server = await serveLayout({ layout, repository: 'landmark' });
    try {
      await withMount(sandbox, `${server.host}/landmark:latest`, async (directory) => {
        await vi.waitFor(
          () => expect(server.stats.blobBytesSent).toBeGreaterThan(first.length),
          20_000,
        );
        expect((await readFile(join(directory, 'first'))).equals(first)).toBe(true);
        // Once, and nothing of the later file.
        expect(server.stats.blobBytesSent).toBeLessThan(2 * first.length);
        expect(await readdir(directory)).toEqual(['first', 'later']);
      });
    } finally {
      await server.close();
    }
  }, 60_000);
});

/** A layout of one eStargz layer. */
async function withStargz(entries: readonly TarEntry[]): Promise<string> {
  const layout = await shared.folder('stargz');
  await createLayout(layout);
  const { blob, digest } = await stargzOf(entries);
  const layer = await writeBlob(layout, blob, mediaTypes.ociLayerGzip);
  const rootfs = { type: 'layers', diff_ids: [digestOf(gunzipSync(blob))] };
  const config = Buffer.from(JSON.stringify({ ...hostPlatform(), rootfs }));
  const annotations = { 'containerd.io/snapshot/stargz/toc.digest': digest };
  const manifest = await writeDocument(layout, {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: await writeBlob(layout, config, mediaTypes.ociConfig),
    layers: [{ ...layer, annotations }],
  });
  await list(layout, manifest, 'latest');
  return layout;
}

async function blobBytes(layout: string): Promise<number> {
  const manifest = await manifestOf(layout);
  return manifest.layers.reduce((sum, { size }) => sum + size, 0);
}

async function manifestOf(layout: string): Promise<Manifest> {
  const index = await readJson<{ manifests: Descriptor[] }>(join(layout, 'index.json'));
  const entry = index.manifests.find(
    ({ annotations }) => annotations?.[refAnnotation] === 'latest',
  );
  return readJson<Manifest>(join(layout, blobFile(entry!.digest))); // written with that tag
}

async function readJson<T>(path: string): Promise<T> {
  return JSON.parse(await readFile(path, 'utf8')) as T;
}

/** A copy of the image with a zTOC for every layer but the smallest. */
async function withSociIndex(version: number): Promise<string> {
  const layout = await shared.folder(`soci-v${version}`);
  await createLayout(layout);
  await must('skopeo', 'copy', '-q', image.source, `oci:${layout}:plain`);
  const manifest = await readJson<Manifest>(join(image.layout, blobFile(image.manifest)));
  const smallest = Math.min(...manifest.layers.map(({ size }) => size));
  const ztocs: Descriptor[] = [];
  for (const layer of manifest.layers.filter(({ size }) => size > smallest)) {
    const blob = await readFile(join(image.layout, blobFile(layer.digest)));
    const ztoc = ztocBytes(ztocPartsOf(blob, 1 << 20));
    const annotations = { 'com.amazon.soci.image-layer-digest': layer.digest };
    ztocs.push({ ...(await writeBlob(layout, ztoc, 'application/octet-stream')), annotations });
  }
  const empty = await writeBlob(layout, Buffer.from('{}'), sociType(version));
  const soci = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: empty,
    layers: ztocs,
  };
  if (version === 1) {
    const subject = await writeBlob(
      layout,
      Buffer.from(JSON.stringify(manifest)),
      mediaTypes.ociManifest,
    );
    await list(layout, await writeDocument(layout, { ...soci, subject }));
    await list(layout, subject, 'latest');
  } else {
    const index = await writeDocument(layout, soci);
    const annotations = { 'com.amazon.soci.index-digest': index.digest };
    await list(layout, await writeDocument(layout, { ...manifest, annotations }), 'latest');
  }
  return layout;
}

function sociType(version: number): string {
  return `application/vnd.amazon.soci.index.v${version}+json`;
}

function writeDocument(layout: string, document: object): Promise<Descriptor> {
  return writeBlob(layout, Buffer.from(JSON.stringify(document)), mediaTypes.ociManifest);
}

async function list(layout: string, manifest: Descriptor, tag?: string): Promise<void> {
  const annotations = tag === undefined ? {} : { annotations: { [refAnnotation]: tag } };
  const { signal } = new AbortController();
  await listInIndex(layout, { ...manifest, ...annotations }, signal);
}

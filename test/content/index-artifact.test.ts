import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Digest, digestHex, digestOf } from '#src/common/digest.js';
import { createLogger } from '#src/common/log.js';
import { ContentStore } from '#src/content/content-store.js';
import { type Image, openImage } from '#src/content/image.js';
import {
  indexArtifactType,
  layerDigestAnnotation,
  layerIndexMediaType,
  publishIndexes,
} from '#src/content/index-artifact.js';
import { listInIndex, writeBlob } from '#src/content/layout-writer.js';
import { parseSource } from '#src/content/source.js';
import { mediaTypes } from '#src/remote/descriptor.js';
import { serveLayout } from '#src/registry-server/serve-layout.js';
import { collect } from '../support/collect.js';
import { startDockerRegistry } from '../../bench/programs/docker-registry.js';
import { type BuiltImage, buildLayout, file, noise } from '../support/images.js';
import { type TemporaryFolder, temporaryFolder } from '../support/temporary-folder.js';
import { skopeoCopy } from '../support/tools.js';

const { signal } = new AbortController();
const log = createLogger('silent');

let folder: TemporaryFolder;
let layout: string;
let built: BuiltImage;
let store: ContentStore;
/** Stand-ins for index files. */
let indexes: Map<Digest, string>;
const opened: Image[] = [];

beforeEach(async () => {
  folder = await temporaryFolder();
  layout = join(folder.path, 'layout');
  built = await buildLayout(layout, {
    tag: 'v1',
    layers: [[file('a', 'a')], [file('b', 'b')], [file('a', 'a')]],
  });
  store = await ContentStore.open(join(folder.path, 'root'));
  indexes = new Map();
  for (const [at, { digest }] of built.layers.slice(0, 2).entries()) {
    const path = join(folder.path, `index-${at}`);
    await writeFile(path, noise(100_000, `index ${at}`));
    indexes.set(digest, path);
  }
});
afterEach(async () => {
  for (const image of opened.splice(0)) await image.close();
  await folder[Symbol.asyncDispose]();
});

async function open(source: string, where = store): Promise<Image> {
  const image = await openImage(parseSource(source), { store: where, signal, log });
  opened.push(image);
  return image;
}

/** Finds through a store that has seen nothing. */
async function openFresh(source: string): Promise<Image> {
  return open(source, await ContentStore.open(join(folder.path, `fresh-${opened.length}`)));
}

async function expectIndexes(image: Image): Promise<void> {
  const found = await image.fetchIndexes(signal);
  expect([...found.keys()].toSorted()).toEqual([...indexes.keys()].toSorted());
  for (const [digest, path] of indexes) {
    const bytes = await found.get(digest)?.(signal);
    expect(bytes && digestOf(gunzipSync(await collect(bytes)))).toBe(
      digestOf(await readFile(path)),
    );
  }
}

describe('in an OCI layout', () => {
  test('are published and found, and again changes nothing', async () => {
    const source = `oci:${layout}:v1`;
    expect(await (await open(source)).fetchIndexes(signal)).toEqual(new Map());
    const first = await publishIndexes(await open(source), indexes, signal);
    const index = await readFile(join(layout, 'index.json'), 'utf8');
    const second = await publishIndexes(await openFresh(source), indexes, signal);
    expect(second).toEqual(first);
    expect(await readFile(join(layout, 'index.json'), 'utf8')).toBe(index);
    await expectIndexes(await openFresh(source));
  });

  test('of the last artifact win where there are several', async () => {
    await publishIndexes(await open(`oci:${layout}:v1`), indexes, signal);
    for (const path of indexes.values()) await writeFile(path, `newer ${path}`);
    await publishIndexes(await open(`oci:${layout}:v1`), indexes, signal);
    await expectIndexes(await openFresh(`oci:${layout}:v1`));
  });

  test('leave the image the only one to choose', async () => {
    await publishIndexes(await open(`oci:${layout}`), indexes, signal);
    const image = await openFresh(`oci:${layout}`);
    expect(image.descriptor?.digest).toBe(built.manifest.digest);
    await expectIndexes(image);
  });

  test('are served to clients with and without the referrers API', async () => {
    await publishIndexes(await open(`oci:${layout}:v1`), indexes, signal);
    const server = await serveLayout({ layout });
    try {
      await expectIndexes(await openFresh(`${server.host}/app:v1`));
      const tag = `sha256-${digestHex(built.manifest.digest)}`;
      const answer = await fetch(`http://${server.host}/v2/app/manifests/${tag}`, {
        headers: { accept: mediaTypes.ociIndex },
      });
      expect(await answer.json()).toMatchObject({
        manifests: [{ artifactType: indexArtifactType }],
      });
    } finally {
      await server.close();
    }
  });

  test('are found through the tag alone', async () => {
    await publishIndexes(await open(`oci:${layout}:v1`), indexes, signal);
    const path = join(layout, 'index.json');
    const index = JSON.parse(await readFile(path, 'utf8')) as { manifests: object[] };
    const manifests = index.manifests.filter((entry) => !('artifactType' in entry));
    expect(manifests).toHaveLength(2);
    await writeFile(path, JSON.stringify({ ...index, manifests }));
    await expectIndexes(await openFresh(`oci:${layout}:v1`));
  });

  test('go along with what skopeo copies by tag', async () => {
    await publishIndexes(await open(`oci:${layout}:v1`), indexes, signal);
    const copy = join(folder.path, 'copy');
    for (const tag of ['v1', `sha256-${digestHex(built.manifest.digest)}`]) {
      await skopeoCopy(`oci:${layout}:${tag}`, `oci:${copy}:${tag}`, '--all');
    }
    await expectIndexes(await openFresh(`oci:${copy}:v1`));
  });

  test('cannot be published for what is no image of a layout or registry', async () => {
    const archive = join(folder.path, 'image.tar');
    await skopeoCopy(`oci:${layout}:v1`, `oci-archive:${archive}:v1`);
    await expect(
      publishIndexes(await open(`oci-archive:${archive}`), indexes, signal),
    ).rejects.toMatchObject({ code: 'unsupported' });
    await skopeoCopy(`oci:${layout}:v1`, `docker-archive:${folder.path}/docker.tar:app:1`);
    await expect(
      publishIndexes(await open(`docker-archive:${folder.path}/docker.tar`), indexes, signal),
    ).rejects.toMatchObject({ code: 'unsupported' });
    await expect(
      publishIndexes(await open(`oci:${layout}:v1`), new Map(), signal),
    ).rejects.toMatchObject({ code: 'invalid' });
  });
});

describe('in registries', () => {
  test("are published to Debian's, which has no referrers API, and found", async () => {
    const registry = await startDockerRegistry();
    try {
      const source = `${registry.host}/app:v1`;
      await skopeoCopy(`oci:${layout}:v1`, `docker://${source}`);
      const first = await publishIndexes(await open(source), indexes, signal);
      const second = await publishIndexes(await openFresh(source), indexes, signal);
      expect(second).toEqual(first);
      const image = await openFresh(source);
      await expectIndexes(image);
      const tag = `sha256-${digestHex(built.manifest.digest)}`;
      const answer = await fetch(`http://${registry.host}/v2/app/manifests/${tag}`, {
        headers: { accept: mediaTypes.ociIndex },
      });
      expect(((await answer.json()) as { manifests: unknown[] }).manifests).toHaveLength(1);
    } finally {
      await registry.close();
    }
  });

  test('are fetched once, and known also when the registry is gone', async () => {
    await publishIndexes(await open(`oci:${layout}:v1`), indexes, signal);
    const server = await serveLayout({ layout });
    const source = `${server.host}/app:v1`;
    const own = await ContentStore.open(join(folder.path, 'own'));
    try {
      await expectIndexes(await open(source, own));
      const before = server.stats.blobBytesSent;
      await expectIndexes(await open(source, own));
      expect(server.stats.blobBytesSent).toBe(before);
    } finally {
      await server.close();
    }
    await expectIndexes(await open(source, own));
  }, 60_000);
});

describe('broken ones are ignored', () => {
  /** Lists an artifact with these layers beside the image. */
  async function plant(changes: object): Promise<void> {
    const config = await writeBlob(layout, Buffer.from('{}'), mediaTypes.ociEmpty);
    const { mediaType, digest, size } = built.manifest;
    const manifest = {
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      artifactType: indexArtifactType,
      config,
      layers: [],
      subject: { mediaType, digest, size },
      ...changes,
    };
    const bytes = Buffer.from(JSON.stringify(manifest));
    const descriptor = await writeBlob(layout, bytes, mediaTypes.ociManifest);
    await listInIndex(layout, { ...descriptor, artifactType: indexArtifactType }, signal);
  }

  test.each([
    ['no layers', { layers: undefined }],
    ['another type', { artifactType: 'application/x' }],
    [
      'a layer that names none',
      {
        layers: [
          {
            mediaType: layerIndexMediaType,
            digest: `sha256:${'0'.repeat(64)}`,
            size: 1,
            annotations: { [layerDigestAnnotation]: 'x' },
          },
        ],
      },
    ],
  ])('%s', async (_, changes) => {
    await plant(changes);
    expect(await (await open(`oci:${layout}:v1`)).fetchIndexes(signal)).toEqual(new Map());
    await publishIndexes(await open(`oci:${layout}:v1`), indexes, signal);
    await expectIndexes(await openFresh(`oci:${layout}:v1`));
  });

  test('an index with other bytes is refused when it is read', async () => {
    const [digest] = indexes.keys();
    if (digest === undefined) throw new Error('no index');
    await publishIndexes(await open(`oci:${layout}:v1`), indexes, signal);
    const server = await serveLayout({ layout });
    try {
      for (const blob of await indexBlobs()) {
        const path = join(layout, 'blobs/sha256', blob);
        await writeFile(path, Buffer.alloc((await readFile(path)).length));
      }
      for (const source of [`oci:${layout}:v1`, `${server.host}/app:v1`]) {
        const found = await (await openFresh(source)).fetchIndexes(signal);
        await expect(found.get(digest)?.(signal)).rejects.toMatchObject({ code: 'corrupt' });
      }
    } finally {
      await server.close();
    }
  });

  /** File names of the published index blobs. */
  async function indexBlobs(): Promise<string[]> {
    const image = await open(`oci:${layout}:v1`);
    const [artifact] =
      (await image.home?.referrers(built.manifest.digest, indexArtifactType, signal)) ?? [];
    if (artifact === undefined) throw new Error('no artifact');
    const path = join(layout, 'blobs/sha256', digestHex(artifact.digest));
    const manifest = JSON.parse(await readFile(path, 'utf8')) as { layers: { digest: Digest }[] };
    return manifest.layers.map(({ digest }) => digestHex(digest));
  }

  test('a search that is cancelled says so, and troubles no other', async () => {
    const image = await open(`oci:${layout}:v1`);
    const one = new AbortController();
    const first = image.fetchIndexes(one.signal);
    const second = image.fetchIndexes(signal);
    one.abort();
    await expect(first).rejects.toMatchObject({ code: 'cancelled' });
    expect(await second).toEqual(new Map());
  });

  test('a search that begins cancelled says so', async () => {
    const image = await open(`oci:${layout}:v1`);
    const abort = AbortSignal.abort();
    await expect(image.fetchIndexes(abort)).rejects.toMatchObject({ code: 'cancelled' });
    expect(await image.fetchIndexes(signal)).toEqual(new Map());
  });
});

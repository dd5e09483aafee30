import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { digestHex, digestOf } from '#src/common/digest.js';
import { ContentStore } from '#src/content/content-store.js';
import { type Image, openImage } from '#src/content/image.js';
import { openOrigin } from '#src/content/layer-origin.js';
import { parseSource } from '#src/content/source.js';
import { mediaTypes } from '#src/remote/descriptor.js';
import { collect } from '../support/collect.js';
import { buildLayout, file, hostPlatform, noise, symlink, tarOf } from '../support/images.js';
import { type TemporaryFolder, temporaryFolder } from '../support/temporary-folder.js';
import { skopeoCopy } from '../support/tools.js';

const { signal } = new AbortController();
const entries = [[file('a', 'a')], [file('b', noise(50_000))]];

let folder: TemporaryFolder;
let archive: string;
let store: ContentStore;
beforeEach(async () => {
  folder = await temporaryFolder();
  archive = join(folder.path, 'image.tar');
  store = await ContentStore.open(folder.path);
});
afterEach(() => folder[Symbol.asyncDispose]());

function open(ref = ''): Promise<Image> {
  return openImage(parseSource(`docker-archive:${archive}${ref}`), { store, signal });
}

async function blobOf(layer: Image['layers'][number]): Promise<Buffer> {
  const blob = await openOrigin(layer.origin, layer.descriptor);
  try {
    return await collect(blob.stream(signal));
  } finally {
    await blob.close();
  }
}

/** An archive by hand: members by name, and what `manifest.json` says. */
async function writeArchive(
  members: Record<string, Buffer | string>,
  manifest: unknown,
): Promise<void> {
  const files = Object.entries({ ...members, 'manifest.json': JSON.stringify(manifest) });
  await writeFile(archive, await tarOf(files.map(([name, content]) => file(name, content))));
}

function configOf(...tars: Buffer[]): Buffer {
  const diff_ids = tars.map(digestOf);
  return Buffer.from(JSON.stringify({ ...hostPlatform(), rootfs: { type: 'layers', diff_ids } }));
}

test.each(['plain', 'gzip'])('reads in place what skopeo wrote (%s)', async (kind) => {
  const layout = join(folder.path, 'layout');
  const built = await buildLayout(layout, { tag: 'v1', layers: entries, config: { Cmd: ['x'] } });
  await skopeoCopy(`oci:${layout}:v1`, `docker-archive:${archive}:app:1`);
  if (kind === 'gzip') await writeFile(archive, gzipSync(await readFile(archive)));
  for (const ref of ['', ':app:1', ':docker.io/library/app:1', ':@0']) {
    const image = await open(ref);
    expect(image.config.config.Cmd).toEqual(['x']);
    expect(image.manifest).toBeUndefined();
    expect(image.layers.map(({ diffId }) => diffId)).toEqual(built.diffIds);
    for (const [at, layer] of image.layers.entries()) {
      expect(layer.descriptor).toMatchObject({
        mediaType: mediaTypes.ociLayer,
        digest: built.diffIds[at],
      });
      expect(digestOf(await blobOf(layer))).toBe(built.diffIds[at]);
    }
    expect(await image.fetchIndexes(signal)).toEqual(new Map());
  }
  await expect(open(':other:1')).rejects.toMatchObject({
    code: 'not-found',
    message: `Cannot find "other:1" in docker archive "${archive}": it has docker.io/library/app:1`,
  });
});

test('reads compressed layers, links to layers, and several images', async () => {
  const tar = await tarOf([file('a', 'a')]);
  const gzip = gzipSync(tar);
  const config = configOf(tar);
  const name = `${digestHex(digestOf(config))}.json`;
  const manifest = [
    { Config: name, RepoTags: ['one:1'], Layers: ['real/layer.tar'] },
    { Config: name, RepoTags: null, Layers: ['link/layer.tar'] },
  ];
  await writeFile(
    archive,
    await tarOf([
      file('real/layer.tar', gzip),
      symlink('link/layer.tar', '../real/layer.tar'),
      file(`./${name}`, config),
      file('manifest.json', JSON.stringify(manifest)),
    ]),
  );
  await expect(open()).rejects.toThrow(/it has one:1, @1, expected one or a reference/);
  for (const ref of [':one:1', ':@1']) {
    const [layer] = (await open(ref)).layers;
    expect(layer?.descriptor).toEqual({
      mediaType: mediaTypes.ociLayerGzip,
      digest: digestOf(gzip),
      size: gzip.length,
    });
    expect(layer && (await blobOf(layer))).toEqual(gzip);
  }
});

test('says what is wrong with an archive', async () => {
  const tar = await tarOf([file('a', 'a')]);
  const config = configOf(tar);
  const name = `${digestHex(digestOf(config))}.json`;
  const image = { Config: name, RepoTags: [], Layers: ['l.tar'] };

  await writeArchive({ [name]: config }, [image]);
  await expect(open()).rejects.toThrow(/it has no member "l.tar"/);
  await writeArchive({ 'l.tar': tar }, [image]);
  await expect(open()).rejects.toThrow(/it has no member "[0-9a-f]{64}.json"/);
  await writeArchive({ 'l.tar': tar, [name]: `${config.toString()} ` }, [image]);
  await expect(open()).rejects.toMatchObject({ code: 'corrupt' });
  await writeArchive({ 'l.tar': tar, [name]: config }, [{ ...image, Layers: ['l.tar', 'l.tar'] }]);
  await expect(open()).rejects.toThrow(/its config has 1 diff ids, expected 2/);
  await writeArchive({}, { not: 'a list' });
  await expect(open()).rejects.toThrow(/manifest.json of docker archive/);
  await writeFile(archive, await tarOf([file('x', 'y')]));
  await expect(open()).rejects.toThrow(/it has no member "manifest.json"/);
});

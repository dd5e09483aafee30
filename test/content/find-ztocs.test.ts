import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type Digest, digestOf } from '#src/common/digest.js';
import { ContentStore } from '#src/content/content-store.js';
import { type Image, openImage } from '#src/content/image.js';
import { listInIndex, writeBlob } from '#src/content/layout-writer.js';
import { blobFile, refAnnotation } from '#src/content/layout.js';
import { type Descriptor, mediaTypes } from '#src/remote/descriptor.js';
import { type BuiltImage, buildLayout, file } from '../support/images.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const V1 = 'application/vnd.amazon.soci.index.v1+json';
const V2 = 'application/vnd.amazon.soci.index.v2+json';
const never = new AbortController().signal;

interface Made {
  layout: string;
  image: BuiltImage;
  ztoc: Descriptor;
}

async function make(): Promise<Made> {
  const folder = await temporaryFolder();
  onTestFinished(() => folder[Symbol.asyncDispose]());
  const layout = folder.path;
  const image = await buildLayout(layout, { tag: 'latest', layers: [[file('a')], [file('b')]] });
  const ztoc = await writeBlob(layout, Buffer.from('zTOC'), 'application/octet-stream');
  return { layout, image, ztoc };
}

/** A SOCI index of the first layer. */
async function soci(
  { layout, image, ztoc }: Made,
  type: string,
  more: object,
): Promise<Descriptor> {
  const annotations = { 'com.amazon.soci.image-layer-digest': image.layers[0]?.digest };
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: await writeBlob(layout, Buffer.from('{}'), type),
    layers: [{ ...ztoc, annotations }, ztoc],
    ...more,
  };
  return writeBlob(layout, Buffer.from(JSON.stringify(manifest)), mediaTypes.ociManifest);
}

async function open(layout: string): Promise<Image> {
  const store = await ContentStore.open(join(layout, 'store'));
  const source = { kind: 'oci-layout', path: layout, ref: 'latest' } as const;
  const image = await openImage(source, { store, signal: never });
  onTestFinished(() => image.close());
  return image;
}

async function found({ layout }: Made): Promise<Record<Digest, string>> {
  const ztocs = await (await open(layout)).fetchZtocs(never);
  const read = [...ztocs].map(async ([layer, get]) => [layer, String(await get(never))] as const);
  return Object.fromEntries(await Promise.all(read));
}

/** Puts an annotation into the image's manifest. */
async function annotate({ layout, image }: Made, value: string): Promise<void> {
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: image.config,
    layers: image.layers,
    annotations: { 'com.amazon.soci.index-digest': value },
  };
  const bytes = Buffer.from(JSON.stringify(manifest));
  const written = await writeBlob(layout, bytes, mediaTypes.ociManifest);
  await listInIndex(layout, { ...written, annotations: { [refAnnotation]: 'latest' } }, never);
}

describe('fetchZtocs', () => {
  it('finds an index of version 1 that refers to the image', async () => {
    const made = await make();
    const index = await soci(made, V1, { subject: made.image.manifest });
    await listInIndex(made.layout, index, never);
    expect(await found(made)).toEqual({ [made.image.layers[0]?.digest ?? '']: 'zTOC' });
  });

  it('finds an index of version 2 that the image names', async () => {
    const made = await make();
    await annotate(made, (await soci(made, V2, {})).digest);
    expect(await found(made)).toEqual({ [made.image.layers[0]?.digest ?? '']: 'zTOC' });
  });

  it.each<[string, (made: Made) => Promise<void>]>([
    ['there is none', async () => undefined],
    ['the image names one that is not there', (made) => annotate(made, digestOf('nothing'))],
    ['the image names no digest', (made) => annotate(made, 'latest')],
    ['the image names something else', async (made) => annotate(made, made.ztoc.digest)],
    [
      'the image names one of another version',
      async (made) => annotate(made, (await soci(made, V1, {})).digest),
    ],
    [
      'one refers to another image',
      async (made) => {
        await listInIndex(made.layout, await soci(made, V1, { subject: made.ztoc }), never);
      },
    ],
  ])('finds none where %s', async (_, prepare) => {
    const made = await make();
    await prepare(made);
    expect(await found(made)).toEqual({});
  });

  it('refuses a zTOC whose bytes are others', async () => {
    const made = await make();
    await annotate(made, (await soci(made, V2, {})).digest);
    const [get] = [...(await (await open(made.layout)).fetchZtocs(never)).values()];
    await rm(join(made.layout, blobFile(made.ztoc.digest)));
    await expect(get?.(never)).rejects.toThrow('Cannot find blob');
  });
});

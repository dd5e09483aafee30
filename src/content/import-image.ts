/** An image of a layout or an archive, taken into the content store whole and recorded under a name. */

import { SiphonError } from '../common/errors.js';
import { type Descriptor, describe, mediaTypes } from '../remote/descriptor.js';
import { formatReference, parseReference } from '../remote/reference.js';
import type { BlobListener } from './blob-event.js';
import type { ContentStore } from './content-store.js';
import { type DockerArchiveSource, readDockerArchive } from './docker-archive.js';
import { nameAnnotation } from './export-image.js';
import { ImageDatabase } from './image-database.js';
import { parseTag } from './image-name.js';
import { readTree } from './image-tree.js';
import { type LayerOrigin, openOrigin } from './layer-origin.js';
import { refAnnotation } from './layout.js';
import { LayoutHome, type LayoutSource } from './layout-home.js';
import { hostPlatform, parsePlatform } from './platform.js';
import { type Source, formatSource } from './source.js';

export interface ImportOptions {
  root: string;
  store: ContentStore;
  source: Source;
  /** Default: the names that the source gives it. */
  name?: string;
  platform?: string;
  signal: AbortSignal;
  onEvent?: BlobListener;
}

export interface ImportedImage {
  names: string[];
  target: Descriptor;
}

/** What there is to be stored, and how the source calls it. */
interface Found {
  target: Descriptor;
  names: string[];
  /** Each after those it names. */
  documents: Buffer[];
  blobs: { descriptor: Descriptor; origin: LayerOrigin }[];
}

/** @throws SiphonError `usage` (a source without a file; no name), and as the source's opener */
export async function importImage(options: ImportOptions): Promise<ImportedImage> {
  const { root, store, source } = options;
  const given = options.name === undefined ? [] : [formatReference(parseTag(options.name))];
  using images = ImageDatabase.open(root);
  const lease = await images.lease();
  try {
    const found = await look(source, options);
    const names = given.length > 0 ? given : found.names;
    if (names.length === 0) throw nameless(source);
    lease.add([found.target, ...found.blobs.map(({ descriptor }) => descriptor)]);
    for (const blob of found.blobs) await storeBlob(blob, options);
    for (const bytes of found.documents) await store.put(bytes);
    for (const name of names) images.put({ name, target: found.target, isGiven: true });
    return { names, target: found.target };
  } finally {
    lease.end();
  }
}

async function look(source: Source, options: ImportOptions): Promise<Found> {
  switch (source.kind) {
    case 'oci-layout':
    case 'oci-archive':
      return lookIntoLayout(source, options);
    case 'docker-archive':
      return lookIntoArchive(source, options);
    default:
      throw new SiphonError(
        'usage',
        `Cannot import "${formatSource(source)}": expected oci:, oci-archive: or docker-archive:`,
      );
  }
}

async function lookIntoLayout(source: LayoutSource, options: ImportOptions): Promise<Found> {
  const { signal } = options;
  const home = await LayoutHome.open(source, options);
  const entry = await home.resolve(signal);
  const { documents, blobs } = await readTree(home, entry, { signal, mayBePartial: true });
  const { mediaType, digest, size } = entry;
  return {
    target: { mediaType, digest, size },
    names: namesOf(entry),
    documents: documents.map(({ bytes }) => bytes),
    blobs: await Promise.all(
      blobs.map(async (descriptor) => ({ descriptor, origin: await home.origin(descriptor) })),
    ),
  };
}

/** An archive of Docker's has no manifest: it gets one. */
async function lookIntoArchive(
  source: DockerArchiveSource,
  { store, signal, platform }: ImportOptions,
): Promise<Found> {
  const wanted = platform === undefined ? hostPlatform() : parsePlatform(platform);
  const archived = await readDockerArchive(source, { store, signal, platform: wanted });
  const { configBytes, layers, tags } = archived;
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      config: describe(configBytes, mediaTypes.ociConfig),
      layers: layers.map(({ descriptor }) => descriptor),
    }),
  );
  return {
    target: describe(manifest, mediaTypes.ociManifest),
    names: tags.map((tag) => formatReference(parseReference(tag))),
    documents: [configBytes, manifest],
    blobs: layers.map(({ descriptor, origin }) => ({ descriptor, origin })),
  };
}

async function storeBlob(
  { descriptor, origin }: { descriptor: Descriptor; origin: LayerOrigin },
  { store, signal, onEvent }: ImportOptions,
): Promise<void> {
  const { digest, size: total } = descriptor;
  const event = (status: 'importing' | 'done', done: number): void =>
    onEvent?.({ digest, status, done, total });
  const source = await openOrigin(origin, descriptor, { signal });
  try {
    const input = (offset: number): AsyncIterable<Uint8Array> => source.stream(signal, offset);
    await store.ingest(descriptor, input, {
      signal,
      onProgress: (done) => event('importing', done),
    });
  } finally {
    await source.close();
  }
  event('done', total);
}

/** A tag alone is no name: it does not say of what. */
function namesOf({ annotations = {} }: Descriptor): string[] {
  const named = annotations[nameAnnotation] ?? annotations[refAnnotation] ?? '';
  if (!/[/:]/.test(named)) return [];
  return [formatReference(parseReference(named))];
}

function nameless(source: Source): SiphonError {
  return new SiphonError(
    'usage',
    `Cannot import "${formatSource(source)}": it does not say the image's name, expected one`,
    { hint: 'Name it as siphon import SOURCE NAME.' },
  );
}

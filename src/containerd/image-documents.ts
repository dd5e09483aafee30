/** The documents of an image, and containerd's copies of them. */

import type { ChainId } from '../common/digest.js';
import { SiphonError } from '../common/errors.js';
import type { ImageHome } from '../content/image-home.js';
import type { Image } from '../content/image.js';
import { type Descriptor, isIndexType } from '../remote/descriptor.js';
import { type Manifest, parseImageIndex } from '../remote/manifest.js';
import type { Connection } from './connection.js';
import { writeBlob } from './content-writer.js';
import { type Labels, indexLabels, manifestLabels } from './gc-labels.js';
import type { PullListener } from './pull-event.js';

/** An image of a registry: all its parts are there. */
export interface RegistryImage {
  image: Image;
  home: ImageHome;
  /** What the reference stands for. */
  target: Descriptor;
  descriptor: Descriptor;
  manifest: Manifest;
  /** On every blob: where it comes from. */
  source: Labels;
  chain: ChainId[];
}

export interface StoreOptions {
  signal: AbortSignal;
  onEvent?: PullListener;
}

/** Stores the indexes that lead to the manifest, the manifest and the config. */
export async function storeDocuments(
  connection: Connection,
  parts: RegistryImage,
  options: StoreOptions,
): Promise<void> {
  const { descriptor, manifest, source } = parts;
  const { config } = manifest;
  const store = (
    kind: 'index' | 'manifest' | 'config',
    document: Descriptor,
    labels: Labels,
  ): Promise<void> => storeDocument(connection, parts, { ...options, kind, document, labels });
  // Children first: what an index or a manifest refers to is there when it is.
  await store('config', config, source);
  await store('manifest', descriptor, { ...source, ...manifestLabels(manifest) });
  for (const { document, labels } of await indexPath(parts, options.signal)) {
    await store('index', document, { ...source, ...labels });
  }
}

interface DocumentToStore extends StoreOptions {
  kind: 'index' | 'manifest' | 'config';
  document: Descriptor;
  labels: Labels;
}

async function storeDocument(
  connection: Connection,
  { home }: RegistryImage,
  { kind, document, labels, signal, onEvent }: DocumentToStore,
): Promise<void> {
  const { digest, size } = document;
  const bytes = await home.readDocument(document, signal);
  const there = await writeBlob(connection, {
    kind,
    descriptor: document,
    labels,
    // oxlint-disable-next-line typescript/require-await -- a generator of what is here already
    async *read(offset) {
      yield bytes.subarray(offset);
    },
    signal,
  });
  onEvent?.({ kind, digest, status: there ? 'exists' : 'done', done: size, total: size });
}

/** The indexes between target and manifest, the one nearest to the manifest first. */
async function indexPath(
  { home, target, descriptor }: RegistryImage,
  signal: AbortSignal,
): Promise<{ document: Descriptor; labels: Labels }[]> {
  const path: { document: Descriptor; labels: Labels }[] = [];
  const find = async (from: Descriptor): Promise<boolean> => {
    if (from.digest === descriptor.digest) return true;
    if (!isIndexType(from.mediaType)) return false;
    const index = parseImageIndex(await home.readDocument(from, signal), from.digest);
    const here = index.manifests.some(({ digest }) => digest === descriptor.digest);
    const below = here ? [] : index.manifests.filter(({ mediaType }) => isIndexType(mediaType));
    let found = here;
    for (const child of below) found ||= await find(child);
    if (found) path.push({ document: from, labels: indexLabels(index) });
    return found;
  };
  if (await find(target)) return path;
  throw new SiphonError(
    'invalid',
    `Cannot pull "${home.name}": no way leads from "${target.digest}" to its manifest "${descriptor.digest}"`,
  );
}

/** An image of the content store as a file or folder to be handed on; what is missing of it is fetched. */

import { createHash } from 'node:crypto';
import { type Digest, digestFromHash, digestHex } from '../common/digest.js';
import { SiphonError } from '../common/errors.js';
import { type Descriptor, mediaTypes } from '../remote/descriptor.js';
import { formatReference, parseReference } from '../remote/reference.js';
import { type ArchiveMember, writeArchive } from './archive-writer.js';
import type { BlobListener } from './blob-event.js';
import { diffIdsOf } from './image-config.js';
import type { Image } from './image-model.js';
import { parseTag } from './image-name.js';
import { type ImageTree, readTree } from './image-tree.js';
import { blobFile, indexFile, layoutFile, layoutVersion, refAnnotation } from './layout.js';
import { copyBlob, createLayout, listInIndex, writeBlob } from './layout-writer.js';
import type { Source } from './source.js';
import type { StoredHome } from './stored-home.js';
import { streamAndClose } from './stream-blob.js';

/** Where to: named as sources are. */
export type ExportTarget = Extract<
  Source,
  { kind: 'oci-layout' | 'oci-archive' | 'docker-archive' }
>;

export interface ExportOptions {
  /** As it is recorded. */
  name: string;
  /** The image for one platform, opened from `home`; a docker archive takes nothing else. */
  image?: Image;
  home: StoredHome;
  /** The manifest of that platform, or all that the image's name stands for. */
  root: Descriptor;
  target: ExportTarget;
  /** The tar in a layer blob. */
  inflate: (blob: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>;
  signal: AbortSignal;
  onEvent?: BlobListener;
}

/** As containerd's import reads it. */
export const nameAnnotation = 'io.containerd.image.name';

/** @throws SiphonError for what cannot be fetched; the system error; an archive is whole or not there */
export async function exportImage(options: ExportOptions): Promise<void> {
  const { home, root, target, signal } = options;
  const tree = await readTree(home, root, { signal });
  for (const blob of tree.blobs) await fetchBlob(options, blob);
  switch (target.kind) {
    case 'oci-layout':
      return intoFolder(tree, options);
    case 'oci-archive':
      return writeArchive(target.path, layoutMembers(tree, options), signal);
    case 'docker-archive':
      return writeArchive(target.path, dockerMembers(options), signal);
  }
}

async function fetchBlob(
  { home, signal, onEvent }: ExportOptions,
  { digest, size: total, ...others }: Descriptor,
): Promise<void> {
  await home.fetch({ ...others, digest, size: total }, signal, (done) =>
    onEvent?.({ digest, status: 'fetching', done, total }),
  );
  onEvent?.({ digest, status: 'exporting', done: 0, total });
}

async function intoFolder(tree: ImageTree, options: ExportOptions): Promise<void> {
  const { home, target, signal, onEvent } = options;
  await createLayout(target.path);
  for (const blob of tree.blobs) {
    await copyBlob(target.path, blob, { from: home.store.path(blob.digest), signal });
    onEvent?.({ digest: blob.digest, status: 'done', done: blob.size, total: blob.size });
  }
  for (const { descriptor, bytes } of tree.documents) {
    await writeBlob(target.path, bytes, descriptor.mediaType);
  }
  await listInIndex(target.path, entryOf(options), signal);
}

async function* layoutMembers(
  tree: ImageTree,
  options: ExportOptions,
): AsyncGenerator<ArchiveMember> {
  yield member(layoutFile, { imageLayoutVersion: layoutVersion });
  yield member(indexFile, {
    schemaVersion: 2,
    mediaType: mediaTypes.ociIndex,
    manifests: [entryOf(options)],
  });
  for (const { descriptor, bytes } of tree.documents) {
    yield { name: blobFile(descriptor.digest), size: bytes.length, content: () => bytes };
  }
  const { home, signal, onEvent } = options;
  for (const blob of tree.blobs) {
    const source = await home.store.source(blob);
    const content = (): AsyncIterable<Uint8Array> =>
      checked(streamAndClose(source, signal), blob.digest);
    yield { name: blobFile(blob.digest), size: blob.size, content };
    onEvent?.({ digest: blob.digest, status: 'done', done: blob.size, total: blob.size });
  }
}

/** As `docker save` writes them, and skopeo: layers as plain tars, under their diff ids. */
async function* dockerMembers(options: ExportOptions): AsyncGenerator<ArchiveMember> {
  const { image, home, signal, onEvent } = options;
  if (image?.manifest === undefined)
    throw new Error('a docker archive is of an image with a manifest');
  const { manifest } = image;
  const config = await home.readDocument(manifest.config, signal);
  const configName = `${digestHex(manifest.config.digest)}.json`;
  const diffIds = diffIdsOf(image.config, manifest.layers.length, image.name);
  const names = diffIds.map((diffId) => `${digestHex(diffId)}.tar`);
  yield { name: configName, size: config.length, content: () => config };
  for (const [at, layer] of manifest.layers.entries()) {
    const name = names[at] ?? '';
    if (names.indexOf(name) !== at) continue;
    const { diffId, size } = await measure(layer, options);
    if (diffId !== diffIds[at]) throw wrongDiffId(layer.digest, diffId);
    yield { name, size, content: () => tarOf(layer, options) };
    onEvent?.({ digest: layer.digest, status: 'done', done: layer.size, total: layer.size });
  }
  yield member('manifest.json', [{ Config: configName, RepoTags: tagsOf(options), Layers: names }]);
}

/** A member's size stands before its bytes, so the tar is read twice. */
async function measure(
  layer: Descriptor,
  options: ExportOptions,
): Promise<{ diffId: Digest; size: number }> {
  const hash = createHash('sha256');
  let size = 0;
  for await (const piece of tarOf(layer, options)) {
    hash.update(piece);
    size += piece.byteLength;
  }
  return { diffId: digestFromHash(hash.digest()), size };
}

/** The inflater's pieces are valid until the next one is asked for. */
async function* tarOf(
  layer: Descriptor,
  { home, inflate, signal }: ExportOptions,
): AsyncGenerator<Uint8Array> {
  const blob = streamAndClose(await home.store.source(layer), signal);
  for await (const piece of inflate(blob)) yield Buffer.from(piece);
}

/** What a file holds may have changed since it was stored. */
async function* checked(
  bytes: AsyncIterable<Uint8Array>,
  digest: Digest,
): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256');
  for await (const chunk of bytes) {
    hash.update(chunk);
    yield chunk;
  }
  const actual = digestFromHash(hash.digest());
  if (actual === digest) return;
  throw new SiphonError(
    'corrupt',
    `Cannot export blob "${digest}": its bytes have digest ${actual}`,
  );
}

function entryOf({ name, root, target }: ExportOptions): Descriptor {
  const { mediaType, digest, size } = root;
  const ref = target.ref ?? tagOf(name) ?? 'latest';
  const annotations = { [refAnnotation]: ref, [nameAnnotation]: name };
  return { mediaType, digest, size, annotations };
}

function tagsOf({ name, target }: ExportOptions): string[] {
  return target.ref === undefined ? referencesOf(name) : [formatReference(parseTag(target.ref))];
}

/** The image's name where it is one that others understand. */
function referencesOf(name: string): string[] {
  return tagOf(name) === undefined ? [] : [name];
}

function tagOf(name: string): string | undefined {
  try {
    const { tag, digest } = parseReference(name);
    return digest === undefined ? tag : undefined;
  } catch {
    // A path, for an image that was pulled from a layout.
    return undefined;
  }
}

function member(name: string, value: unknown): ArchiveMember {
  const bytes = Buffer.from(JSON.stringify(value));
  return { name, size: bytes.length, content: () => bytes };
}

function wrongDiffId(layer: Digest, actual: Digest): SiphonError {
  return new SiphonError(
    'corrupt',
    `Cannot export layer "${layer}": its tar has digest ${actual}, expected the image's diff id`,
  );
}

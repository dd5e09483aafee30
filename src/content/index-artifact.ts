/**
 * The artifact that carries the indexes of an image's layers beside it: an OCI manifest whose `subject`
 * is the image's manifest, with one layer for each index, the SQLite file compressed with gzip. The
 * annotation of each names the layer blob it belongs to. Nothing in it depends on the clock or on who
 * publishes, so publishing the same indexes again makes the same artifact.
 */

import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { type Digest, isDigest } from '../common/digest.js';
import { SiphonError } from '../common/errors.js';
import { type Descriptor, describe, mediaTypes } from '../remote/descriptor.js';
import { type Manifest, artifactTypeOf, parseManifest } from '../remote/manifest.js';
import type { ContentStore } from './content-store.js';
import type { Image } from './image-model.js';

export const indexArtifactType = 'application/vnd.siphon.index.v1';
export const layerIndexMediaType = 'application/vnd.siphon.layer-index.v1.sqlite+gzip';
export const layerDigestAnnotation = 'dev.siphon.layer.digest';

/** What a manifest without a config has instead (image-spec, manifest.md, "Guidance for an Empty Descriptor"). */
const emptyConfig = Buffer.from('{}');

/**
 * Publishes index files beside the image: in its registry, or in its OCI layout.
 * @param indexes paths of index files, by the digest of the layer blob
 * @returns the descriptor of the artifact's manifest
 * @throws SiphonError `unsupported` where the source cannot hold artifacts, `invalid` where no index
 * belongs to a layer of the image; what pushing throws
 */
export async function publishIndexes(
  image: Image,
  indexes: ReadonlyMap<Digest, string>,
  signal: AbortSignal,
): Promise<Descriptor> {
  const { home, descriptor: subject } = image;
  if (home === undefined || subject === undefined) throw noHome(image.name);
  const layers: Descriptor[] = [];
  for (const digest of new Set(image.layers.map((layer) => layer.descriptor.digest))) {
    const path = indexes.get(digest);
    if (path !== undefined)
      layers.push(await compress(path, digest, { store: home.store, signal }));
  }
  if (layers.length === 0) throw noIndex(image.name);
  const config = describe(emptyConfig, mediaTypes.ociEmpty);
  await home.store.put(emptyConfig);
  const manifest = Buffer.from(JSON.stringify(manifestOf(subject, config, layers)));
  const descriptor = {
    ...describe(manifest, mediaTypes.ociManifest),
    artifactType: indexArtifactType,
  };
  const artifact = { artifactType: indexArtifactType, subject, descriptor, manifest };
  await home.push({ ...artifact, blobs: [config, ...layers] }, signal);
  return descriptor;
}

/**
 * The indexes that an artifact holds, by the digest of the layer blob they belong to.
 * @throws SiphonError `invalid` where it is no index artifact, or one of another image
 */
export function parseIndexArtifact(
  bytes: Buffer,
  expected: { digest: Digest; subject: Digest },
): Map<Digest, Descriptor> {
  const manifest = parseManifest(bytes, expected.digest);
  const type = artifactTypeOf(manifest);
  if (type !== indexArtifactType) throw broken(expected.digest, `its type is "${type}"`);
  if (manifest.subject?.digest !== expected.subject) {
    throw broken(expected.digest, `it is about "${manifest.subject?.digest}"`, expected.subject);
  }
  const indexes = new Map<Digest, Descriptor>();
  for (const layer of manifest.layers) {
    const digest = layer.annotations?.[layerDigestAnnotation] ?? '';
    if (layer.mediaType !== layerIndexMediaType) continue;
    if (!isDigest(digest)) throw broken(expected.digest, `an index names the layer "${digest}"`);
    if (!indexes.has(digest)) indexes.set(digest, layer);
  }
  return indexes;
}

function manifestOf(
  { mediaType, digest, size }: Descriptor,
  config: Descriptor,
  layers: Descriptor[],
): Manifest {
  return {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    artifactType: indexArtifactType,
    config,
    layers,
    subject: { mediaType, digest, size },
  };
}

/** Node writes neither name nor time into the gzip header: the same file gives the same bytes. */
async function compress(
  path: string,
  layer: Digest,
  { store, signal }: { store: ContentStore; signal: AbortSignal },
): Promise<Descriptor> {
  const gzip = createGzip();
  const read = pipeline(createReadStream(path), gzip, { signal });
  const [stored] = await Promise.all([store.add(gzip, { signal }), read]);
  return {
    mediaType: layerIndexMediaType,
    ...stored,
    annotations: { [layerDigestAnnotation]: layer },
  };
}

function noHome(name: string): SiphonError {
  return new SiphonError(
    'unsupported',
    `Cannot publish indexes of "${name}": its source holds no artifacts, expected a registry or an OCI layout`,
  );
}

function noIndex(name: string): SiphonError {
  return new SiphonError(
    'invalid',
    `Cannot publish indexes of "${name}": none of them belongs to one of its layers`,
  );
}

function broken(artifact: Digest, problem: string, expected = ''): SiphonError {
  const ending = expected === '' ? '' : `, expected "${expected}"`;
  return new SiphonError('invalid', `Cannot use index artifact "${artifact}": ${problem}${ending}`);
}

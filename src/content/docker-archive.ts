/**
 * Images as `docker save` and `skopeo copy … docker-archive:` write them: a tar with `manifest.json`,
 * configs, and the layers as plain tars, which are read in place as slices of the archive. A plain
 * layer's digest is its diff id, so nothing has to be hashed to know it.
 */

import { z } from 'zod';
import { type DiffId, digestOf, isDigest } from '../common/digest.js';
import { SiphonError, errorCode } from '../common/errors.js';

import type { Descriptor, Platform } from '../remote/descriptor.js';
import { parseDocument } from '../remote/descriptor.js';
import { formatReference, parseReference } from '../remote/reference.js';
import { openArchive } from './archive-files.js';
import type { ContentStore } from './content-store.js';
import { digestOfSlice } from './file-digest.js';
import { type FileSet, type FileSlice, readSmallFile } from './file-set.js';
import { type ImageConfig, diffIdsOf, parseImageConfig } from './image-config.js';
import type { Image, ImageLayer } from './image-model.js';
import { detectCompression, layerMediaType } from './layer-format.js';
import { openOrigin } from './layer-origin.js';
import { OpenedImage } from './opened-image.js';
import { requirePlatform } from './select-manifest.js';
import { type Source, formatSource } from './source.js';

export type DockerArchiveSource = Extract<Source, { kind: 'docker-archive' }>;

export interface DockerArchiveOptions {
  store: ContentStore;
  platform: Platform;
  signal: AbortSignal;
}

const entrySchema = z.object({
  Config: z.string(),
  RepoTags: z
    .array(z.string())
    .nullish()
    .transform((value) => value ?? []),
  Layers: z.array(z.string()).max(4096),
});
const manifestSchema = z.array(entrySchema);
type Entry = z.infer<typeof entrySchema>;

/** What an archive says of one of its images. */
export interface ArchivedImage {
  name: string;
  /** `name:tag` each, as the archive has them. */
  tags: string[];
  config: ImageConfig;
  configBytes: Buffer;
  /** Bottom first. */
  layers: ImageLayer[];
}

/** @throws SiphonError as openArchive; `not-found`, `usage` (several images), `corrupt`, `invalid` */
export async function readDockerArchive(
  source: DockerArchiveSource,
  options: DockerArchiveOptions,
): Promise<ArchivedImage> {
  const name = formatSource(source);
  const files = await openArchive(source.path, options);
  const entry = chooseEntry(await readManifest(files, options.signal), source);
  const configBytes = await readConfig(files, entry, name, options);
  const config = parseImageConfig(configBytes, name);
  requirePlatform(config, { platform: options.platform, name });
  const diffIds = diffIdsOf(config, entry.Layers.length, name);
  const layers: ImageLayer[] = [];
  for (const [at, diffId] of diffIds.entries()) {
    layers.push(await describeLayer(files, entry.Layers[at] ?? '', diffId, options));
  }
  return { name, tags: entry.RepoTags, config, configBytes, layers };
}

/** Errors as {@link readDockerArchive}. */
export async function openDockerArchive(
  source: DockerArchiveSource,
  options: DockerArchiveOptions,
): Promise<Image> {
  const { name, config, layers } = await readDockerArchive(source, options);
  return new OpenedImage({
    name,
    config,
    layers,
    openLayer: ({ origin, descriptor }, signal) => openOrigin(origin, descriptor, { signal }),
  });
}

async function readManifest(files: FileSet, signal: AbortSignal): Promise<Entry[]> {
  const bytes = await readSmallFile(files, 'manifest.json', signal);
  const thing = `docker archive "${files.name}"`;
  if (bytes === undefined) {
    throw new SiphonError(
      'invalid',
      `Cannot open ${thing}: it has no member "manifest.json", expected one`,
    );
  }
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw new SiphonError('invalid', `Cannot open ${thing}: its manifest.json is not JSON`, {
      cause,
    });
  }
  return parseDocument(manifestSchema, json, `manifest.json of ${thing}`);
}

function chooseEntry(entries: Entry[], { path, ref }: DockerArchiveSource): Entry {
  const found =
    ref === undefined ? entries : entries.filter((entry, at) => isNamed(entry, at, ref));
  const [only] = found;
  if (only !== undefined && (found.length === 1 || ref !== undefined)) return only;
  const names = entries.map(({ RepoTags }, at) => RepoTags[0] ?? `@${at}`).join(', ') || 'no image';
  throw ref === undefined && entries.length > 0
    ? new SiphonError(
        'usage',
        `Cannot choose an image in docker archive "${path}": it has ${names}, expected one or a reference`,
        { hint: `Name one as docker-archive:${path}:REFERENCE.` },
      )
    : new SiphonError(
        'not-found',
        `Cannot find "${ref ?? 'an image'}" in docker archive "${path}": it has ${names}`,
      );
}

function isNamed(entry: Entry, at: number, ref: string): boolean {
  if (ref === `@${at}`) return true;
  const wanted = fullName(ref);
  return entry.RepoTags.some(
    (tag) => tag === ref || (wanted !== undefined && fullName(tag) === wanted),
  );
}

/** Docker shortens names in archives; people do as they like. */
function fullName(reference: string): string | undefined {
  try {
    return formatReference(parseReference(reference));
  } catch (error) {
    if (errorCode(error) === undefined) throw error;
    return undefined;
  }
}

async function readConfig(
  files: FileSet,
  entry: Entry,
  name: string,
  { signal }: DockerArchiveOptions,
): Promise<Buffer> {
  const bytes = await readSmallFile(files, entry.Config, signal);
  if (bytes === undefined) throw noMember(files, entry.Config);
  const named = `sha256:${baseName(entry.Config)}`;
  if (isDigest(named) && digestOf(bytes) !== named) {
    throw new SiphonError(
      'corrupt',
      `Cannot read config of "${name}": its bytes have digest ${digestOf(bytes)}, expected ${named}`,
    );
  }
  return bytes;
}

async function describeLayer(
  files: FileSet,
  member: string,
  diffId: DiffId,
  options: DockerArchiveOptions,
): Promise<ImageLayer> {
  const slice = await files.locate(member);
  if (slice === undefined) throw noMember(files, member);
  return {
    descriptor: await layerDescriptor(slice, diffId, options),
    identity: 'content',
    diffId,
    origin: { kind: 'file', path: slice.path, offset: slice.offset },
  };
}

async function layerDescriptor(
  slice: FileSlice,
  diffId: DiffId,
  options: DockerArchiveOptions,
): Promise<Descriptor> {
  const compression = await detectCompression(slice.path, slice);
  const digest = compression === 'none' ? diffId : await digestOfSlice(slice, options);
  return { mediaType: layerMediaType(compression), digest, size: slice.size };
}

/** `<hex>.json`, or `blobs/sha256/<hex>`. */
function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1).replace(/\.json$/, '');
}

function noMember(files: FileSet, member: string): SiphonError {
  return new SiphonError(
    'corrupt',
    `Cannot open docker archive "${files.name}": it has no member "${member}", expected one`,
  );
}

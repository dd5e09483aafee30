/**
 * From the descriptor that a reference stands for to the manifest of one image for one platform,
 * through indexes and indexes of indexes.
 */

import { SiphonError } from '../common/errors.js';
import {
  type Descriptor,
  type Platform,
  isIndexType,
  isManifestType,
  mediaTypes,
} from '../remote/descriptor.js';
import { type Manifest, parseImageIndex, parseManifest } from '../remote/manifest.js';
import { type ImageConfig, parseImageConfig } from './image-config.js';
import { formatPlatform, platformRank } from './platform.js';

/** Gives the verified bytes of a document. */
export type DocumentReader = (descriptor: Descriptor) => Promise<Buffer>;

export interface SelectedManifest {
  /** Of the manifest. */
  descriptor: Descriptor;
  manifest: Manifest;
}

export interface SelectedImage extends SelectedManifest {
  config: ImageConfig;
}

export interface SelectOptions {
  platform: Platform;
  /** For messages. */
  name: string;
  read: DocumentReader;
  /** Is told of the image before its config is read. */
  onManifest?: (image: SelectedManifest) => void;
}

/** Nobody nests deeper; a hostile index could nest without end. */
const MAX_INDEX_DEPTH = 4;
/** Images of an index whose platform the index leaves open, so that each has to be looked at. */
const MAX_UNDECLARED = 32;

interface Candidate {
  descriptor: Descriptor;
  platform: Platform;
}

/**
 * @throws SiphonError `not-found` where nothing suits the platform (the message lists what there is),
 * `unsupported` where it is no image, `invalid`; what `read` throws
 */
export async function selectManifest(
  root: Descriptor,
  options: SelectOptions,
): Promise<SelectedImage> {
  if (!isIndexType(root.mediaType)) {
    const image = await readImage(root, options);
    requirePlatform(image.config, options);
    return image;
  }
  const candidates = await listCandidates(root, options, 1);
  const best = bestOf(candidates, options.platform);
  if (best === undefined)
    throw noneFor(
      options,
      candidates.map(({ platform }) => platform),
    );
  return readImage(best.descriptor, options);
}

/**
 * Refuses a lone image for another platform, which only its config tells; one that says nothing is taken.
 * @throws SiphonError `not-found`
 */
export function requirePlatform(
  config: ImageConfig,
  wanted: { platform: Platform; name: string },
): void {
  if (config.os === '' || config.architecture === '') return;
  if (platformRank(wanted.platform, config) === undefined) throw noneFor(wanted, [config]);
}

async function readImage(descriptor: Descriptor, options: SelectOptions): Promise<SelectedImage> {
  if (!isManifestType(descriptor.mediaType)) throw notAnImage(options.name, descriptor.mediaType);
  const manifest = parseManifest(await options.read(descriptor), descriptor.digest);
  requireSameType(descriptor, manifest.mediaType);
  const { mediaType } = manifest.config;
  if (!isImageConfig(mediaType)) {
    throw notAnImage(options.name, manifest.artifactType ?? mediaType);
  }
  options.onManifest?.({ descriptor, manifest });
  const config = parseImageConfig(await options.read(manifest.config), options.name);
  return { descriptor, manifest, config };
}

async function listCandidates(
  index: Descriptor,
  options: SelectOptions,
  depth: number,
): Promise<Candidate[]> {
  if (depth > MAX_INDEX_DEPTH) {
    throw new SiphonError(
      'invalid',
      `Cannot open image "${options.name}": its indexes nest deeper than ${MAX_INDEX_DEPTH}`,
    );
  }
  const document = parseImageIndex(await options.read(index), index.digest);
  requireSameType(index, document.mediaType);
  const candidates: Candidate[] = [];
  let undeclared = 0;
  for (const entry of document.manifests) {
    if (isIndexType(entry.mediaType)) {
      candidates.push(...(await listCandidates(entry, options, depth + 1)));
    } else if (!isManifestType(entry.mediaType) || isArtifact(entry)) {
      continue;
    } else if (entry.platform !== undefined) {
      candidates.push({ descriptor: entry, platform: entry.platform });
    } else if (undeclared++ < MAX_UNDECLARED) {
      candidates.push(...(await lookAt(entry, options)));
    }
  }
  return candidates;
}

/** The platform of an image that only its config tells; nothing where it is no image. */
async function lookAt(entry: Descriptor, options: SelectOptions): Promise<Candidate[]> {
  const manifest = parseManifest(await options.read(entry), entry.digest);
  if (!isImageConfig(manifest.config.mediaType)) return [];
  const config = parseImageConfig(await options.read(manifest.config), options.name);
  return [{ descriptor: entry, platform: config }];
}

/** Attestations stand in indexes as manifests for the platform `unknown/unknown`. */
function isArtifact(entry: Descriptor): boolean {
  return entry.artifactType !== undefined || entry.platform?.os === 'unknown';
}

function bestOf(candidates: Candidate[], wanted: Platform): Candidate | undefined {
  let best: { candidate: Candidate; rank: number } | undefined;
  for (const candidate of candidates) {
    const rank = platformRank(wanted, candidate.platform);
    if (rank !== undefined && rank < (best?.rank ?? Infinity)) best = { candidate, rank };
  }
  return best?.candidate;
}

function isImageConfig(mediaType: string): boolean {
  return mediaType === mediaTypes.ociConfig || mediaType === mediaTypes.dockerConfig;
}

/** The same bytes must not be read as one thing here and as another elsewhere. */
function requireSameType(descriptor: Descriptor, own: string | undefined): void {
  if (own === undefined || own === descriptor.mediaType) return;
  throw new SiphonError(
    'invalid',
    `Cannot read manifest "${descriptor.digest}": it calls itself "${own}", expected "${descriptor.mediaType}"`,
  );
}

function noneFor(
  { name, platform }: { name: string; platform: Platform },
  platforms: Platform[],
): SiphonError {
  const names = new Set(platforms.map(formatPlatform));
  const offered = names.size === 0 ? 'no image at all' : [...names].join(', ');
  return new SiphonError(
    'not-found',
    `Cannot open image "${name}" for platform ${formatPlatform(platform)}: it has ${offered}, expected that platform`,
    names.size === 0 ? {} : { hint: 'Choose one of them with --platform.' },
  );
}

function notAnImage(name: string, type: string): SiphonError {
  return new SiphonError(
    'unsupported',
    `Cannot open image "${name}": it is a "${type}", expected a container image (OCI or Docker schema 2)`,
  );
}

/**
 * Finds SOCI's index of an image (soci-snapshotter, docs/soci-index-manifest-v2.md): a manifest whose
 * layers are zTOCs, each of which names the layer blob that it describes. The image's manifest names the
 * digest of one of version 2; one of version 1 refers to the image. Layers below a size have no zTOC. An
 * index is a convenience: nothing about it is fatal.
 */

import { type Digest, isDigest } from '../common/digest.js';
import { SiphonError, errorCode, errorMessage } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import type { Descriptor } from '../remote/descriptor.js';
import { type Manifest, artifactTypeOf, parseManifest } from '../remote/manifest.js';
import { type Found, isPassing } from './found.js';
import type { ImageHome } from './image-home.js';
import type { PublishedZtoc } from './image-model.js';

const INDEX_V1 = 'application/vnd.amazon.soci.index.v1+json';
const INDEX_V2 = 'application/vnd.amazon.soci.index.v2+json';
/** Annotation of the image's manifest. */
const INDEX_DIGEST_ANNOTATION = 'com.amazon.soci.index-digest';
/** Annotation of a zTOC. */
const LAYER_DIGEST_ANNOTATION = 'com.amazon.soci.image-layer-digest';
/** A zTOC takes about 1 % of its layer. */
const MAX_ZTOC_SIZE = 64 << 20;
/** Artifacts of this type about one image that are looked at; anybody may push one. */
const MAX_ARTIFACTS = 16;

export interface SociSubject {
  descriptor: Descriptor;
  manifest: Manifest;
}

/**
 * Of several indexes the last that can be read counts.
 * @throws SiphonError `cancelled` only
 */
export async function findZtocs(
  home: ImageHome,
  subject: SociSubject,
  { signal, log }: { signal: AbortSignal; log: Logger },
): Promise<Found<PublishedZtoc>> {
  let complete = true;
  const attempt = async <T>(work: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await work();
    } catch (error) {
      if (signal.aborted || errorCode(error) === 'cancelled') throw error;
      complete &&= !isPassing(error);
      log.warn({ image: home.name, reason: errorMessage(error) }, 'SOCI index ignored');
      return undefined;
    }
  };
  const named = subject.manifest.annotations?.[INDEX_DIGEST_ANNOTATION];
  if (named !== undefined) {
    const indexes = await attempt(() => readNamed(home, named, signal));
    if (indexes !== undefined) return { indexes, complete };
  }
  const artifacts = await attempt(() =>
    home.referrers(subject.descriptor.digest, INDEX_V1, signal),
  );
  for (const artifact of (artifacts ?? []).slice(-MAX_ARTIFACTS).toReversed()) {
    const indexes = await attempt(() => readReferrer(home, { artifact, subject }, signal));
    if (indexes !== undefined) return { indexes, complete };
  }
  return { indexes: new Map(), complete };
}

async function readNamed(
  home: ImageHome,
  digest: string,
  signal: AbortSignal,
): Promise<Map<Digest, PublishedZtoc>> {
  if (!isDigest(digest)) throw broken(digest, 'the image names it so', 'a sha256 digest');
  const manifest = parseManifest(await home.readManifest(digest, signal), digest);
  const type = artifactTypeOf(manifest);
  if (type !== INDEX_V2 && manifest.config.mediaType !== INDEX_V2)
    throw broken(digest, `its type is "${type}"`, `"${INDEX_V2}"`);
  return ztocsOf(manifest, home);
}

async function readReferrer(
  home: ImageHome,
  { artifact, subject }: { artifact: Descriptor; subject: SociSubject },
  signal: AbortSignal,
): Promise<Map<Digest, PublishedZtoc>> {
  const { digest } = artifact;
  const manifest = parseManifest(await home.readDocument(artifact, signal), digest);
  const type = artifactTypeOf(manifest);
  if (type !== INDEX_V1) throw broken(digest, `its type is "${type}"`, `"${INDEX_V1}"`);
  const about = manifest.subject?.digest;
  if (about !== subject.descriptor.digest)
    throw broken(digest, `it is about "${about}"`, `"${subject.descriptor.digest}"`);
  return ztocsOf(manifest, home);
}

function ztocsOf(manifest: Manifest, home: ImageHome): Map<Digest, PublishedZtoc> {
  const ztocs = new Map<Digest, PublishedZtoc>();
  for (const ztoc of manifest.layers) {
    const layer = ztoc.annotations?.[LAYER_DIGEST_ANNOTATION] ?? '';
    if (isDigest(layer)) ztocs.set(layer, (signal) => readZtoc(home, ztoc, signal));
  }
  return ztocs;
}

async function readZtoc(home: ImageHome, ztoc: Descriptor, signal: AbortSignal): Promise<Buffer> {
  if (ztoc.size > MAX_ZTOC_SIZE) {
    throw new SiphonError(
      'unsupported',
      `Cannot use zTOC "${ztoc.digest}": it has ${ztoc.size} bytes, expected at most ${MAX_ZTOC_SIZE}`,
    );
  }
  const pieces: Uint8Array[] = [];
  for await (const piece of await home.readBlob(ztoc, signal)) pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces);
}

function broken(digest: string, problem: string, expected: string): SiphonError {
  return new SiphonError(
    'invalid',
    `Cannot use SOCI index "${digest}": ${problem}, expected ${expected}`,
  );
}

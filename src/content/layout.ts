/**
 * An OCI image layout (image-spec, image-layout.md) as a set of files: a folder, or the members of an
 * archive. `index.json` is read anew each time, for others may write to it.
 */

import { SiphonError } from '../common/errors.js';
import { type Digest, digestHex, digestOf } from '../common/digest.js';
import { type Descriptor, isIndexType, mediaTypes } from '../remote/descriptor.js';
import {
  type ImageIndex,
  artifactTypeOf,
  parseImageIndex,
  parseManifest,
} from '../remote/manifest.js';
import { type FileSet, type FileSlice, readSlice, readSmallFile } from './file-set.js';

export const layoutFile = 'oci-layout';
export const layoutVersion = '1.0.0';
export const indexFile = 'index.json';
export const refAnnotation = 'org.opencontainers.image.ref.name';

/** Tags that stand in for the referrers API (distribution-spec, "Referrers Tag Schema"). */
const REFERRERS_TAG = /^sha256-[0-9a-f]{64}$/;

export class OciLayout {
  readonly #files: FileSet;

  private constructor(files: FileSet) {
    this.#files = files;
  }

  /** @throws SiphonError `not-found` where there is no layout, `unsupported` for another version */
  static async open(files: FileSet, signal: AbortSignal): Promise<OciLayout> {
    const bytes = await readSmallFile(files, layoutFile, signal);
    if (bytes === undefined) {
      throw new SiphonError(
        'not-found',
        `Cannot open OCI layout "${files.name}": it has no file "${layoutFile}", expected the folder of a layout`,
      );
    }
    requireVersion(bytes, files.name);
    return new OciLayout(files);
  }

  /** Path of the folder or archive. */
  get name(): string {
    return this.#files.name;
  }

  /** @throws SiphonError `invalid` */
  async index(signal: AbortSignal): Promise<ImageIndex> {
    const bytes = await readSmallFile(this.#files, indexFile, signal);
    if (bytes !== undefined) return parseImageIndex(bytes, `${this.name}/${indexFile}`);
    throw new SiphonError(
      'invalid',
      `Cannot open OCI layout "${this.name}": it has no file "${indexFile}", expected one`,
    );
  }

  /** Where a blob's bytes lie. @throws SiphonError `not-found`, `corrupt` (another size than is known) */
  async locate(blob: { digest: Digest; size?: number }): Promise<FileSlice> {
    const slice = await this.#files.locate(blobFile(blob.digest));
    if (slice === undefined) {
      throw new SiphonError(
        'not-found',
        `Cannot find blob "${blob.digest}" in OCI layout "${this.name}": there is no such file, expected one`,
      );
    }
    if (blob.size === undefined || slice.size === blob.size) return slice;
    throw new SiphonError(
      'corrupt',
      `Cannot read blob "${blob.digest}" of OCI layout "${this.name}": it has ${slice.size} bytes, expected ${blob.size}`,
    );
  }

  /** A small blob, verified. @throws SiphonError as {@link locate}; `corrupt` for another digest */
  async read(blob: { digest: Digest; size?: number }, signal: AbortSignal): Promise<Buffer> {
    const bytes = await readSlice(await this.locate(blob), `blob ${blob.digest}`, signal);
    if (digestOf(bytes) === blob.digest) return bytes;
    throw wrongDigest(blob.digest, this.name, digestOf(bytes));
  }

  /**
   * The entry of `index.json` that `ref` names; without one, the only image there is.
   * @throws SiphonError `not-found`, `usage` where there are several; both list what there is
   */
  async resolve(ref: string | undefined, signal: AbortSignal): Promise<Descriptor> {
    const { manifests } = await this.index(signal);
    if (ref === undefined) return this.#onlyImage(manifests, signal);
    const entry = manifests.find(({ annotations }) => annotations?.[refAnnotation] === ref);
    if (entry !== undefined) return entry;
    throw new SiphonError(
      'not-found',
      `Cannot find "${ref}" in OCI layout "${this.name}": it has ${listRefs(manifests)}, expected one of them`,
    );
  }

  /**
   * Manifests with that subject: those `index.json` lists, and those of the referrers tag. Ones that
   * cannot be read are reported and left out: anything may lie in a layout.
   */
  async referrers(
    subject: Digest,
    artifactType: string,
    options: { signal: AbortSignal; onBroken?: (error: unknown, digest: Digest) => void },
  ): Promise<Descriptor[]> {
    const { signal, onBroken } = options;
    const { manifests } = await this.index(signal);
    const tagged = await this.#tagged(manifests, subject, signal);
    const found = new Map<Digest, Descriptor>();
    for (const entry of [...manifests, ...tagged]) {
      if (found.has(entry.digest) || !mayBeArtifact(entry, artifactType)) continue;
      try {
        const manifest = parseManifest(await this.read(entry, signal), entry.digest);
        const isOne = artifactTypeOf(manifest) === artifactType;
        if (isOne && manifest.subject?.digest === subject) found.set(entry.digest, entry);
      } catch (error) {
        if (signal.aborted) throw error;
        onBroken?.(error, entry.digest);
      }
    }
    return [...found.values()];
  }

  async #tagged(
    manifests: Descriptor[],
    subject: Digest,
    signal: AbortSignal,
  ): Promise<Descriptor[]> {
    const tag = referrersTag(subject);
    const entry = manifests.find(({ annotations }) => annotations?.[refAnnotation] === tag);
    if (entry === undefined || !isIndexType(entry.mediaType)) return [];
    return parseImageIndex(await this.read(entry, signal), entry.digest).manifests;
  }

  async #onlyImage(manifests: Descriptor[], signal: AbortSignal): Promise<Descriptor> {
    const images: Descriptor[] = [];
    for (const entry of manifests) {
      const isSame = images.some(({ digest }) => digest === entry.digest);
      if (!isSame && (await this.#mayBeImage(entry, signal))) images.push(entry);
    }
    const [only] = images;
    if (only !== undefined && images.length === 1) return only;
    throw new SiphonError(
      only === undefined ? 'not-found' : 'usage',
      `Cannot choose an image in OCI layout "${this.name}": it has ${listRefs(images)}, expected one or a reference`,
      only === undefined ? {} : { hint: `Name one: ":REFERENCE" behind the path.` },
    );
  }

  /** Artifacts about an image are not images to choose from. */
  async #mayBeImage(entry: Descriptor, signal: AbortSignal): Promise<boolean> {
    if (entry.artifactType !== undefined) return false;
    if (REFERRERS_TAG.test(entry.annotations?.[refAnnotation] ?? '')) return false;
    if (entry.mediaType !== mediaTypes.ociManifest) return true;
    const manifest = parseManifest(await this.read(entry, signal), entry.digest);
    return manifest.subject === undefined;
  }
}

/** The tag under which the referrers of `subject` are listed. */
export function referrersTag(subject: Digest): string {
  return `sha256-${digestHex(subject)}`;
}

/** Path of a blob below the layout. */
export function blobFile(digest: Digest): string {
  return `blobs/sha256/${digestHex(digest)}`;
}

export function wrongDigest(digest: Digest, layout: string, actual: Digest): SiphonError {
  return new SiphonError(
    'corrupt',
    `Cannot read blob "${digest}" of OCI layout "${layout}": its bytes have digest ${actual}, expected that one`,
  );
}

function requireVersion(bytes: Buffer, name: string): void {
  let version: unknown;
  try {
    const document: unknown = JSON.parse(bytes.toString('utf8'));
    if (typeof document === 'object' && document !== null && 'imageLayoutVersion' in document) {
      version = document.imageLayoutVersion;
    }
  } catch {
    // Said below, as for every other document that states no version.
  }
  if (version === layoutVersion) return;
  throw new SiphonError(
    'unsupported',
    `Cannot open OCI layout "${name}": its version is "${String(version)}", expected "${layoutVersion}"`,
  );
}

/** Tools drop the type from the entry when they copy. */
function mayBeArtifact(entry: Descriptor, artifactType: string): boolean {
  if (entry.mediaType !== mediaTypes.ociManifest) return false;
  return entry.artifactType === undefined || entry.artifactType === artifactType;
}

function listRefs(manifests: Descriptor[]): string {
  if (manifests.length === 0) return 'no image';
  const names = manifests.map(({ annotations, digest }) => annotations?.[refAnnotation] ?? digest);
  return [...new Set(names)].filter((name) => !REFERRERS_TAG.test(name)).join(', ');
}

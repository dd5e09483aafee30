/**
 * Reads an OCI image layout (image-spec, image-layout.md) for serving: tags, manifests, blobs, and who
 * refers to whom. `index.json` is read at each question, so what is added to the folder while it is
 * served is seen; manifests are immutable and kept.
 */

import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { LRUCache } from 'lru-cache';
import { type Digest, digestHex } from '../common/digest.js';
import { SiphonError, errorCode, systemCode } from '../common/errors.js';
import { type Descriptor, describe, mediaTypes } from '../remote/descriptor.js';
import {
  type ImageIndex,
  type Manifest,
  artifactTypeOf,
  parseImageIndex,
  parseManifest,
} from '../remote/manifest.js';
import { isTag } from '../remote/reference.js';

/** A manifest or index as stored, and what it says. */
export interface StoredManifest {
  descriptor: Descriptor;
  bytes: Buffer;
  document: Manifest | ImageIndex;
}

const TAG_ANNOTATION = 'org.opencontainers.image.ref.name';
/** distribution-spec's bound for manifests, in bytes. */
const MAX_MANIFEST = 4 * 1024 * 1024;
/** Manifests kept in memory. */
const KEPT_MANIFESTS = 256;
/** Manifests looked through for referrers, indexes within indexes included. */
const MAX_WALKED = 4096;

export class LayoutReader {
  readonly #folder: string;
  readonly #manifests = new LRUCache<Digest, StoredManifest>({ max: KEPT_MANIFESTS });

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** @throws SiphonError `not-found` or `invalid` where `folder` is no layout */
  static async open(folder: string): Promise<LayoutReader> {
    const reader = new LayoutReader(folder);
    await reader.#index();
    return reader;
  }

  /** Sorted; names that no registry allows as tags are left out. */
  async tags(): Promise<string[]> {
    const { manifests } = await this.#index();
    const names = manifests.flatMap((entry) => entry.annotations?.[TAG_ANNOTATION] ?? []);
    return [...new Set(names.filter(isTag))].sort((a, b) => (a < b ? -1 : 1));
  }

  /** The digest that `tag` names; of several the last. */
  async resolveTag(tag: string): Promise<Digest | undefined> {
    const { manifests } = await this.#index();
    return manifests.findLast((entry) => entry.annotations?.[TAG_ANNOTATION] === tag)?.digest;
  }

  /** `undefined` where the layout has no such blob, or it is no manifest. */
  async manifest(digest: Digest): Promise<StoredManifest | undefined> {
    const kept = this.#manifests.get(digest);
    if (kept !== undefined) return kept;
    const size = await this.blobSize(digest);
    if (size === undefined || size > MAX_MANIFEST) return undefined;
    const stored = parseStored(await readFile(this.blobPath(digest)), digest);
    if (stored !== undefined) this.#manifests.set(digest, stored);
    return stored;
  }

  blobPath(digest: Digest): string {
    return join(this.#folder, 'blobs', 'sha256', digestHex(digest));
  }

  /** Bytes, or `undefined` where the layout has no such blob. */
  async blobSize(digest: Digest): Promise<number | undefined> {
    try {
      const stats = await stat(this.blobPath(digest));
      return stats.isFile() ? stats.size : undefined;
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** Descriptors of everything reachable from `index.json` whose `subject` is `subject`. */
  async referrers(subject: Digest): Promise<Descriptor[]> {
    const found: Descriptor[] = [];
    const seen = new Set<Digest>();
    const queue = (await this.#index()).manifests.map(({ digest }) => digest);
    for (let digest = queue.shift(); digest !== undefined; digest = queue.shift()) {
      if (seen.has(digest) || seen.size >= MAX_WALKED) continue;
      seen.add(digest);
      const stored = await this.manifest(digest);
      if (stored === undefined) continue;
      const { document } = stored;
      if (document.subject?.digest === subject) found.push(referrerDescriptor(stored));
      if ('manifests' in document) queue.push(...document.manifests.map((entry) => entry.digest));
    }
    return found;
  }

  async #index(): Promise<ImageIndex> {
    const path = join(this.#folder, 'index.json');
    try {
      return parseImageIndex(await readFile(path), path);
    } catch (cause) {
      if (cause instanceof SiphonError) throw cause;
      throw new SiphonError(
        'not-found',
        `Cannot read OCI layout "${this.#folder}": its index.json cannot be read, expected a folder with oci-layout, index.json and blobs`,
        { cause },
      );
    }
  }
}

function parseStored(bytes: Buffer, digest: Digest): StoredManifest | undefined {
  const document = tryParse(bytes, digest);
  if (document === undefined) return undefined;
  const implied = 'manifests' in document ? mediaTypes.ociIndex : mediaTypes.ociManifest;
  const descriptor = { ...describe(bytes, document.mediaType ?? implied), digest };
  return { descriptor, bytes, document };
}

/** Nothing tells a manifest from another blob but its content. */
function tryParse(bytes: Buffer, digest: Digest): Manifest | ImageIndex | undefined {
  for (const parse of [parseManifest, parseImageIndex]) {
    try {
      return parse(bytes, digest);
    } catch (error) {
      if (errorCode(error) !== 'invalid') throw error;
    }
  }
  return undefined;
}

function referrerDescriptor({ descriptor, document }: StoredManifest): Descriptor {
  const artifactType = artifactTypeOf(document);
  return {
    ...descriptor,
    ...(artifactType === undefined ? {} : { artifactType }),
    ...(document.annotations === undefined ? {} : { annotations: document.annotations }),
  };
}

/** An image as what has to be copied of it: its documents, each after those it names, and its blobs. */

import type { Digest } from '../common/digest.js';
import { errorCode } from '../common/errors.js';
import { type Descriptor, isIndexType, isManifestType } from '../remote/descriptor.js';
import { parseImageIndex, parseManifest } from '../remote/manifest.js';
import type { ImageHome } from './image-home.js';

export interface ImageDocument {
  descriptor: Descriptor;
  bytes: Buffer;
}

export interface ImageTree {
  /** The last one is the root. */
  documents: ImageDocument[];
  /** Configs and layers, each once. */
  blobs: Descriptor[];
}

export interface TreeOptions {
  signal: AbortSignal;
  /** Whether an index may name manifests that its home does not have; they are left out. */
  mayBePartial?: boolean;
}

/** @throws SiphonError `not-found`, `corrupt`, `invalid`; what the home throws */
export async function readTree(
  home: ImageHome,
  root: Descriptor,
  { signal, mayBePartial = false }: TreeOptions,
): Promise<ImageTree> {
  const documents = new Map<Digest, ImageDocument>();
  const blobs = new Map<Digest, Descriptor>();
  const visit = async (descriptor: Descriptor): Promise<void> => {
    if (documents.has(descriptor.digest)) return;
    const { digest } = descriptor;
    const bytes = await home.readDocument(descriptor, signal);
    if (isIndexType(descriptor.mediaType)) {
      for (const child of parseImageIndex(bytes, digest).manifests) {
        if (!isIndexType(child.mediaType) && !isManifestType(child.mediaType)) continue;
        await visit(child).catch((error: unknown) => {
          if (!mayBePartial || errorCode(error) !== 'not-found') throw error;
        });
      }
    } else {
      const { config, layers } = parseManifest(bytes, digest);
      for (const blob of [config, ...layers]) blobs.set(blob.digest, blob);
    }
    documents.set(digest, { descriptor, bytes });
  };
  await visit(root);
  return { documents: [...documents.values()], blobs: [...blobs.values()] };
}

/** What an image needs of the content store: its documents, and the blobs that they name. */

import type { Digest } from '../common/digest.js';
import { errorCode } from '../common/errors.js';
import { type Descriptor, isIndexType, isManifestType } from '../remote/descriptor.js';
import { parseImageIndex, parseManifest } from '../remote/manifest.js';
import type { ContentStore } from './content-store.js';

/**
 * All that `roots` lead to by the documents that are here, themselves included. A document that is not
 * here, or damaged, leads to nothing.
 */
export async function reachableFrom(
  store: ContentStore,
  roots: readonly Descriptor[],
): Promise<Set<Digest>> {
  const reached = new Set<Digest>();
  const visit = async (descriptor: Descriptor): Promise<void> => {
    if (reached.has(descriptor.digest)) return;
    reached.add(descriptor.digest);
    for (const child of await childrenOf(store, descriptor)) await visit(child);
  };
  for (const root of roots) await visit(root);
  return reached;
}

/** What a document here names; nothing for a blob, or for a document that is not here. */
async function childrenOf(store: ContentStore, descriptor: Descriptor): Promise<Descriptor[]> {
  const { digest, mediaType } = descriptor;
  if (!isIndexType(mediaType) && !isManifestType(mediaType)) return [];
  try {
    const bytes = await store.read(digest);
    if (isIndexType(mediaType)) return parseImageIndex(bytes, digest).manifests;
    const { config, layers } = parseManifest(bytes, digest);
    return [config, ...layers];
  } catch (error) {
    if (errorCode(error) === undefined) throw error;
    return [];
  }
}

/** The blobs of a store with their labels, as containerd's content service lists them. */

import { parseFilters } from '../common/filters.js';
import type { ContentStore, StoredBlob } from './content-store.js';
import type { ImageDatabase, Labels } from './image-database.js';

export interface LabelledBlob extends StoredBlob {
  labels: Labels;
}

/**
 * Those blobs that one of the filters matches, or all, in no order. Their fields: digest, size, labels.
 * @throws SiphonError `invalid` for a malformed filter
 */
export async function* walkBlobs(
  store: ContentStore,
  images: ImageDatabase,
  filters: readonly string[] = [],
): AsyncGenerator<LabelledBlob> {
  const matches = parseFilters<LabelledBlob>(filters, fieldOf);
  for await (const blob of store.list()) {
    const labelled = { ...blob, labels: images.labelsOf(blob.digest) };
    if (matches(labelled)) yield labelled;
  }
}

function fieldOf({ digest, size }: LabelledBlob, name: string): string | undefined {
  switch (name) {
    case 'digest':
      return digest;
    case 'size':
      return String(size);
    default:
      return undefined;
  }
}

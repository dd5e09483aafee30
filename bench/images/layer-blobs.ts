/** What is in the OCI layouts that the benchmark or skopeo wrote: one image for one platform. */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface LayerBlob {
  path: string;
  digest: string;
  size: number;
}

interface LayoutDocument {
  manifests?: { digest: string }[];
  layers?: { digest: string; size: number }[];
}

/** @returns the layers, bottom first */
export async function layerBlobs(layout: string): Promise<LayerBlob[]> {
  const blob = (digest: string): string => join(layout, 'blobs', digest.replace(':', '/'));
  const read = async (path: string): Promise<LayoutDocument> =>
    JSON.parse(await readFile(path, 'utf8')) as LayoutDocument; // of a writer that is known
  const { manifests = [] } = await read(join(layout, 'index.json'));
  const { layers = [] } = await read(blob(manifests[0]?.digest ?? ''));
  return layers.map(({ digest, size }) => ({ path: blob(digest), digest, size }));
}

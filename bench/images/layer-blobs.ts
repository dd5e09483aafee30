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
  const { layers = [] } = await read(blobPath(layout, await manifestDigest(layout)));
  return layers.map(({ digest, size }) => ({ path: blobPath(layout, digest), digest, size }));
}

/** @returns `sha256:…` of the one manifest */
export async function manifestDigest(layout: string): Promise<string> {
  const [manifest] = (await read(join(layout, 'index.json'))).manifests ?? [];
  if (manifest === undefined) throw new Error(`Cannot use layout "${layout}": it has no image`);
  return manifest.digest;
}

function blobPath(layout: string, digest: string): string {
  return join(layout, 'blobs', digest.replace(':', '/'));
}

async function read(path: string): Promise<LayoutDocument> {
  return JSON.parse(await readFile(path, 'utf8')) as LayoutDocument; // of a writer that is known
}

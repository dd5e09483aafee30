/** Layers to an OCI image layout: a folder that skopeo, umoci and siphon read (image-spec, image-layout.md). */

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Digest, digestHex, digestOf } from '#src/common/digest.js';
import {
  type LayerCompression,
  type LayerContents,
  type WrittenLayer,
  writeLayer,
} from './write-layer.js';

export interface LayoutOptions {
  /** The layout's folder; made where it is missing. */
  layout: string;
  tag: string;
  layers: readonly LayerPlan[];
  /** The `config` object of the image configuration: Env, Cmd, WorkingDir, … */
  process: Record<string, unknown>;
  signal?: AbortSignal;
  /** Called with each finished layer. */
  onLayer?: (layer: WrittenLayer, title: string) => void;
}

export interface LayerPlan {
  title: string;
  entries: LayerContents;
  compression?: LayerCompression;
}

export interface WrittenImage {
  manifest: Digest;
  layers: WrittenLayer[];
  /** Sum of the layers as stored. */
  compressedSize: number;
}

const CREATED = '2024-01-01T00:00:00Z';
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const CONFIG = 'application/vnd.oci.image.config.v1+json';
const LAYER = {
  gzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
  none: 'application/vnd.oci.image.layer.v1.tar',
};

/** Writes one image of one platform, this machine's. Layers are written side by side. */
export async function writeLayout(options: LayoutOptions): Promise<WrittenImage> {
  const { layout, tag, process, signal } = options;
  const blobs = join(layout, 'blobs/sha256');
  await mkdir(blobs, { recursive: true });
  const layers = await Promise.all(
    options.layers.map(async ({ title, entries, compression }) => {
      const layer = await writeLayer(blobs, entries, { compression, signal });
      options.onLayer?.(layer, title);
      return layer;
    }),
  );
  const titles = options.layers.map((plan) => plan.title);
  const config = await writeJson(blobs, CONFIG, imageConfig(layers, titles, process));
  const manifest = await writeJson(blobs, MANIFEST, {
    schemaVersion: 2,
    mediaType: MANIFEST,
    config,
    layers: layers.map(({ compression, digest, size }) => ({
      mediaType: LAYER[compression],
      digest,
      size,
    })),
  });
  const named = { ...manifest, annotations: { 'org.opencontainers.image.ref.name': tag } };
  await writeFile(
    join(layout, 'index.json'),
    JSON.stringify({ schemaVersion: 2, manifests: [named] }),
  );
  await writeFile(join(layout, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  const compressedSize = layers.reduce((sum, layer) => sum + layer.size, 0);
  return { manifest: manifest.digest, layers, compressedSize };
}

function imageConfig(
  layers: readonly WrittenLayer[],
  titles: readonly string[],
  process: Record<string, unknown>,
): unknown {
  return {
    created: CREATED,
    architecture: goArchitecture(),
    os: 'linux',
    config: process,
    rootfs: { type: 'layers', diff_ids: layers.map((layer) => layer.diffId) },
    history: titles.map((title) => ({ created: CREATED, created_by: title })),
  };
}

/** OCI names architectures as Go does. */
function goArchitecture(): string {
  const names: Record<string, string> = { x64: 'amd64', ia32: '386' };
  return names[process.arch] ?? process.arch;
}

interface JsonBlob {
  mediaType: string;
  digest: Digest;
  size: number;
}

async function writeJson(folder: string, mediaType: string, value: unknown): Promise<JsonBlob> {
  const bytes = Buffer.from(JSON.stringify(value));
  const digest = digestOf(bytes);
  await writeFile(join(folder, digestHex(digest)), bytes);
  return { mediaType, digest, size: bytes.length };
}

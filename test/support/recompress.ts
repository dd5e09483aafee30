/** The same image with its layers compressed in another way. */

import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Digest, digestHex } from '#src/common/digest.js';
import { listInIndex, writeBlob } from '#src/content/layout-writer.js';
import { refAnnotation } from '#src/content/layout.js';
import { type Descriptor, mediaTypes } from '#src/remote/descriptor.js';

/** A command that compresses from standard input to standard output. */
export type Compressor = readonly [command: string, ...args: string[]];

/** One frame, whatever the size. */
export const ZSTD_ONE_FRAME: Compressor = ['zstd', '-q', '-c'];
/** Frames of about a megabyte each, with frames to skip between them. */
export const ZSTD_MANY_FRAMES: Compressor = ['pzstd', '-q', '-c', '-p', '2', '-1'];
/** More memory than siphon takes for decoding; containerd takes it. */
export const ZSTD_HUGE_WINDOW: Compressor = ['zstd', '-q', '-c', '--ultra', '-1', '--long=28'];

/**
 * Adds to the layout an image like the one with the manifest `from`, whose layers are not compressed.
 * @returns its layers
 */
export async function recompress(
  layout: string,
  from: Digest,
  options: { tag: string; compressor: Compressor },
): Promise<Descriptor[]> {
  const blob = (digest: Digest) => readFile(join(layout, 'blobs/sha256', digestHex(digest)));
  // Written by the tests themselves.
  const manifest = JSON.parse((await blob(from)).toString()) as { layers: Descriptor[] };
  const [command, ...args] = options.compressor;
  const layers: Descriptor[] = [];
  for (const { digest } of manifest.layers) {
    const input = await blob(digest);
    const bytes = execFileSync(command, args, { input, maxBuffer: 1 << 28 });
    layers.push(await writeBlob(layout, bytes, mediaTypes.ociLayerZstd));
  }
  const text = Buffer.from(JSON.stringify({ ...manifest, layers }));
  const descriptor = await writeBlob(layout, text, mediaTypes.ociManifest);
  const annotations = { [refAnnotation]: options.tag };
  await listInIndex(layout, { ...descriptor, annotations }, new AbortController().signal);
  return layers;
}

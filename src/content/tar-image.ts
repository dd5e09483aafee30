/** One layer tar, from a path or a URL, as an image of its own with a default config. */

import { resolve } from 'node:path';
import { FileBlob } from '../common/file-blob.js';
import type { BlobSource } from '../common/blob-source.js';
import type { Platform } from '../remote/descriptor.js';
import { openHttpBlob } from '../remote/http-blob.js';
import type { ContentStore } from './content-store.js';
import { digestOfSlice } from './file-digest.js';
import { defaultImageConfig } from './image-config.js';
import type { Image, ImageLayer } from './image-model.js';
import { compressionOf, layerMediaType } from './layer-format.js';
import { openOrigin } from './layer-origin.js';
import { nameOfFile, nameOfUrl } from './location.js';
import { OpenedImage } from './opened-image.js';
import { formatUrl } from './source.js';

export interface TarImageOptions {
  store: ContentStore;
  platform: Platform;
  signal: AbortSignal;
}

/**
 * A compressed file is hashed once, and again only when it has changed; one that is not compressed need not be
 * read for that. @throws SiphonError `not-found`, … */
export async function openTarFile(path: string, options: TarImageOptions): Promise<Image> {
  const absolute = resolve(path);
  const blob = await FileBlob.open(absolute);
  try {
    const { size } = blob;
    const compression = await compressionOf(blob, options.signal);
    const isPlain = compression === 'none';
    const digest = isPlain
      ? await nameOfFile(absolute)
      : await digestOfSlice({ path: absolute, offset: 0, size }, options);
    return tarImage(path, options, {
      descriptor: { mediaType: layerMediaType(compression), digest, size },
      identity: isPlain ? 'location' : 'content',
      origin: { kind: 'file', path: absolute },
    });
  } finally {
    await blob.close();
  }
}

/** Nothing but the start is downloaded. @throws SiphonError as openHttpBlob */
export async function openTarUrl(url: string, options: TarImageOptions): Promise<Image> {
  const blob = await openHttpBlob(url, options.signal);
  try {
    const { size } = blob;
    const compression = await compressionOf(blob, options.signal);
    return tarImage(formatUrl(url), options, {
      descriptor: {
        mediaType: layerMediaType(compression),
        digest: nameOfUrl(url, blob),
        size,
      },
      identity: 'location',
      origin: { kind: 'url', url },
    });
  } finally {
    await blob.close();
  }
}

function tarImage(name: string, options: TarImageOptions, layer: ImageLayer): Image {
  const openLayer = async (_: ImageLayer, signal: AbortSignal): Promise<BlobSource> =>
    openOrigin(layer.origin, layer.descriptor, { signal });
  const diffIds = layer.diffId === undefined ? [] : [layer.diffId];
  const config = defaultImageConfig(options.platform, diffIds);
  return new OpenedImage({ name, config, layers: [layer], openLayer });
}

/** Images that have a manifest: in a registry, in an OCI layout. */

import type { BlobSource } from '../common/blob-source.js';
import type { Logger } from '../common/log.js';
import type { Platform } from '../remote/descriptor.js';
import { diffIdsOf } from './image-config.js';
import type { ImageHome } from './image-home.js';
import type { Image, ImageLayer } from './image-model.js';
import type { LayerOrigin } from './layer-origin.js';
import { OpenedImage } from './opened-image.js';
import { type SelectedImage, selectManifest } from './select-manifest.js';

export interface ManifestImageOptions {
  platform: Platform;
  signal: AbortSignal;
  log?: Logger | undefined;
  ordering?: ReadOrder | undefined;
}

/** Gives the blob that lies at `origin` as it is to be read. */
export type ReadOrder = (blob: BlobSource, origin: LayerOrigin) => BlobSource;

/** Takes `home` over: it is closed with the image, or at once where opening fails. */
export async function openManifestImage(
  home: ImageHome,
  options: ManifestImageOptions,
): Promise<Image> {
  try {
    const target = await home.resolve(options.signal);
    const selected = await selectManifest(target, {
      platform: options.platform,
      name: home.name,
      read: (descriptor) => home.readDocument(descriptor, options.signal),
    });
    return new OpenedImage({
      ...selected,
      name: home.name,
      target,
      layers: await layersOf(selected, home, options.signal),
      home,
      openLayer: async ({ descriptor, origin }, signal) => {
        const blob = await home.openBlob(descriptor, signal);
        return options.ordering?.(blob, origin) ?? blob;
      },
      log: options.log,
    });
  } catch (error) {
    await home.close();
    throw error;
  }
}

async function layersOf(
  { manifest, config }: SelectedImage,
  home: ImageHome,
  signal: AbortSignal,
): Promise<ImageLayer[]> {
  const diffIds = diffIdsOf(config, manifest.layers.length, home.name);
  return Promise.all(
    manifest.layers.map(async (descriptor, at): Promise<ImageLayer> => {
      const diffId = diffIds[at];
      return {
        descriptor,
        identity: 'content',
        ...(diffId === undefined ? {} : { diffId }),
        origin: await home.origin(descriptor, signal),
      };
    }),
  );
}

/** Images that have a manifest: in a registry, in an OCI layout. */

import type { BlobSource } from '../common/blob-source.js';
import type { Digest } from '../common/digest.js';
import { type Logger, silentLogger } from '../common/log.js';
import type { Descriptor, Platform } from '../remote/descriptor.js';
import { findIndexes } from './find-indexes.js';
import { Search } from './found.js';
import { diffIdsOf } from './image-config.js';
import type { ImageHome } from './image-home.js';
import type { Image, ImageLayer, PublishedIndex } from './image-model.js';
import type { LayerOrigin } from './layer-origin.js';
import { OpenedImage } from './opened-image.js';
import { type SelectedImage, type SelectedManifest, selectManifest } from './select-manifest.js';

export interface ManifestImageOptions {
  platform: Platform;
  signal: AbortSignal;
  log?: Logger | undefined;
  ordering?: ReadOrder | undefined;
  /** Whether a layer's index is here. Where one is not, published ones are looked for while the config is read. */
  hasIndex?: ((layer: Digest) => boolean) | undefined;
}

/** Gives the blob that lies at `origin` as it is to be read. */
export type ReadOrder = (blob: BlobSource, origin: LayerOrigin) => BlobSource;

/** Takes `home` over: it is closed with the image, or at once where opening fails. */
export async function openManifestImage(
  home: ImageHome,
  options: ManifestImageOptions,
): Promise<Image> {
  const { signal, log = silentLogger, hasIndex } = options;
  const searchFor = (subject: Descriptor): Search<PublishedIndex> =>
    new Search((own) => findIndexes(home, subject, { signal: own, log }));
  let ahead: Search<PublishedIndex> | undefined;
  const lookAhead = ({ descriptor, manifest }: SelectedManifest): void => {
    if (hasIndex === undefined || manifest.layers.every(({ digest }) => hasIndex(digest))) return;
    ahead = searchFor(descriptor);
    ahead.find(signal).catch(() => undefined); // whoever asks looks again
  };
  try {
    const target = await home.resolve(signal);
    const selected = await selectManifest(target, {
      platform: options.platform,
      name: home.name,
      read: (descriptor) => home.readDocument(descriptor, signal),
      onManifest: lookAhead,
    });
    return new OpenedImage({
      ...selected,
      name: home.name,
      target,
      layers: await layersOf(selected, home, signal),
      home,
      indexes: ahead ?? searchFor(selected.descriptor),
      openLayer: async ({ descriptor, origin }, own) => {
        const blob = await home.openBlob(descriptor, own);
        return options.ordering?.(blob, origin) ?? blob;
      },
      log,
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

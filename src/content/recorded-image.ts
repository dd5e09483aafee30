/** Images as commands use them: under a lease, by a name recorded here or from their source, and recorded. */

import type { Digest } from '../common/digest.js';
import { type Descriptor, isIndexType } from '../remote/descriptor.js';
import { parseImageIndex } from '../remote/manifest.js';
import { ImageDatabase, type ImageRecord, type Lease } from './image-database.js';
import { type Image, type OpenImageOptions, isHomeSource, openHome, openImage } from './image.js';
import { imageName, pinnedOrigin } from './image-name.js';
import type { LayerOrigin } from './layer-origin.js';
import { openManifestImage } from './manifest-image.js';
import { hostPlatform, parsePlatform } from './platform.js';
import { type Source, parseSource } from './source.js';
import { StoredHome } from './stored-home.js';

export interface UseImageOptions extends OpenImageOptions {
  /** siphon's root, which `store` belongs to. */
  root: string;
  /** The image's source is asked also where the name was given here; it is a pulled one then. */
  askAnew?: boolean;
  /** Where a layer lies by what is known of layers. */
  locate?: (digest: Digest) => LayerOrigin | undefined;
}

/** An open image that no collection of garbage takes anything of. */
export interface UsedImage {
  image: Image;
  /**
   * All that is needed has come: the image is recorded under its name, where its source has manifests,
   * and stays until that name is removed.
   * @param unpacked why it is not served lazily, where it is not
   */
  record(unpacked?: string): Promise<void>;
  /** Closes the image and ends its lease. */
  close(): Promise<void>;
}

/**
 * Opens an image for use. A name that was given here (by import or tag) is taken from here; what was
 * pulled is asked for anew where it came from. Errors as {@link openImage}.
 */
export async function useImage(source: Source, options: UseImageOptions): Promise<UsedImage> {
  const images = ImageDatabase.open(options.root);
  let lease: Lease | undefined;
  try {
    lease = await images.lease();
    const known = images.find(imageName(source));
    const isLocal = known?.isGiven === true && options.askAnew !== true;
    const image = isLocal ? await openRecorded(known, options) : await openImage(source, options);
    lease.add(partsOf(image));
    return used({ images, lease, image, source, isLocal }, options);
  } catch (error) {
    lease?.end();
    images[Symbol.dispose]();
    throw error;
  }
}

/** The image of a record, from the content store as far as it is there. Errors as {@link openImage}. */
export function openRecorded(record: ImageRecord, options: UseImageOptions): Promise<Image> {
  const { signal, log, platform } = options;
  return openManifestImage(recordedHome(record, options), {
    platform: platform === undefined ? hostPlatform() : parsePlatform(platform),
    signal,
    log,
  });
}

/** Nothing is asked of the place the image came from before something is missing. */
export function recordedHome(record: ImageRecord, options: UseImageOptions): StoredHome {
  const { store, locate, access } = options;
  const { origin, plainHttp } = record;
  const source = origin === undefined ? undefined : parseSource(origin);
  const { plainHttp: _, ...others } = options;
  const how = plainHttp === undefined ? others : { ...others, plainHttp };
  return new StoredHome({
    record,
    store,
    locate,
    access,
    ...(source !== undefined && isHomeSource(source)
      ? { openOriginHome: () => openHome(source, how) }
      : {}),
  });
}

/** Of a manifest: why the image is unpacked for whoever runs it. */
export const unpackedLabel = 'siphon/unpacked';

interface Use {
  images: ImageDatabase;
  lease: Lease;
  image: Image;
  source: Source;
  isLocal: boolean;
}

function used(use: Use, options: UseImageOptions): UsedImage {
  const { images, lease, image } = use;
  return {
    image,
    async record(unpacked = '') {
      if (!use.isLocal) await recordPulled(use, options);
      if (image.descriptor !== undefined) {
        images.label(image.descriptor.digest, { [unpackedLabel]: unpacked });
      }
      lease.settle();
    },
    async close() {
      try {
        await image.close();
      } finally {
        lease.end();
        images[Symbol.dispose]();
      }
    },
  };
}

async function recordPulled(
  { images, lease, image, source }: Use,
  { plainHttp, signal }: UseImageOptions,
): Promise<void> {
  const { target } = image;
  if (target === undefined || !isHomeSource(source)) return;
  lease.add(await keepDocuments(image, target, signal));
  images.put({
    name: imageName(source),
    target,
    origin: pinnedOrigin(source, target.digest),
    isGiven: false,
    ...(plainHttp === undefined ? {} : { plainHttp }),
  });
  if (source.kind === 'registry') {
    const { host, repository } = source.reference;
    images.label(target.digest, { [`containerd.io/distribution.source.${host}`]: repository });
  }
}

/** Puts into the content store what a layout's image is found by, as a registry's already is. */
async function keepDocuments(
  { home, descriptor, manifest }: Image,
  target: Descriptor,
  signal: AbortSignal,
): Promise<Descriptor[]> {
  if (home === undefined) return [];
  const kept: Descriptor[] = [];
  const keep = async (document: Descriptor): Promise<void> => {
    const bytes = await home.readDocument(document, signal);
    await home.store.put(bytes);
    kept.push(document);
    if (!isIndexType(document.mediaType)) return;
    for (const child of parseImageIndex(bytes, document.digest).manifests) {
      if (isIndexType(child.mediaType)) await keep(child);
    }
  };
  await keep(target);
  if (descriptor !== undefined) await keep(descriptor);
  if (manifest !== undefined) await keep(manifest.config);
  return kept;
}

function partsOf({ target, descriptor, manifest, layers }: Image): Descriptor[] {
  const documents = [target, descriptor, manifest?.config].filter((one) => one !== undefined);
  return [...documents, ...layers.map((layer) => layer.descriptor)];
}

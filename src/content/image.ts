/** Opens images from every kind of source. */

import type { Digest } from '../common/digest.js';
import type { Logger } from '../common/log.js';
import type { RegistryAccess } from '../remote/registry.js';
import type { ContentStore } from './content-store.js';
import { openDockerArchive } from './docker-archive.js';
import type { ImageHome } from './image-home.js';
import type { Image } from './image-model.js';
import { LayoutHome } from './layout-home.js';
import { type ReadOrder, openManifestImage } from './manifest-image.js';
import { hostPlatform, parsePlatform } from './platform.js';
import type { Source } from './source.js';

export type { Image, ImageLayer } from './image-model.js';

export interface OpenImageOptions {
  store: ContentStore;
  /** `os/architecture[/variant]`; default: this machine's. */
  platform?: string;
  /** Implied for loopback hosts. */
  plainHttp?: boolean;
  access?: RegistryAccess | undefined;
  signal: AbortSignal;
  /** For images of a registry: how their layers' blobs are read among what else is; default: as they come. */
  ordering?: ReadOrder;
  /** Whether a layer's index is here; see {@link openManifestImage}. */
  hasIndex?: (layer: Digest) => boolean;
  log?: Logger;
}

/** Sources whose images have manifests. */
export type HomeSource = Extract<Source, { kind: 'registry' | 'oci-layout' | 'oci-archive' }>;

export function isHomeSource(source: Source): source is HomeSource {
  return ['registry', 'oci-layout', 'oci-archive'].includes(source.kind);
}

/** Where the source's image lies with its documents; nothing is asked of a registry yet. */
export async function openHome(
  source: HomeSource,
  options: Omit<OpenImageOptions, 'platform'>,
): Promise<ImageHome> {
  const { store, plainHttp, access, log } = options;
  if (source.kind !== 'registry') return LayoutHome.open(source, options);
  // What speaks HTTP takes a while to load, and other images need none of it.
  const { RegistryHome } = await import('./registry-home.js');
  return new RegistryHome({ reference: source.reference, store, plainHttp, access, log });
}

/**
 * Reads and checks manifest and config; layers are not touched. Close the image when done.
 * @throws SiphonError `usage`, `not-found` (also: not for this platform), `unauthorized`,
 * `unavailable`, `timeout`, `corrupt`, `invalid`, `unsupported`, `cancelled`
 */
export async function openImage(source: Source, options: OpenImageOptions): Promise<Image> {
  const { store, signal, log, platform: name } = options;
  const platform = name === undefined ? hostPlatform() : parsePlatform(name);
  const { ordering, hasIndex } = options;
  const common = { store, platform, signal, log, ordering, hasIndex };
  switch (source.kind) {
    case 'registry':
    case 'oci-layout':
    case 'oci-archive':
      return openManifestImage(await openHome(source, options), common);
    case 'docker-archive':
      return openDockerArchive(source, common);
    case 'tar-file':
      return (await import('./tar-image.js')).openTarFile(source.path, common);
    case 'tar-url':
      return (await import('./tar-image.js')).openTarUrl(source.url, common);
  }
}

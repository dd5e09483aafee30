/** Opens images from every kind of source. */

import { SiphonError } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import type { CredentialSource } from '../remote/credentials.js';
import type { ContentStore } from './content-store.js';
import type { Image } from './image-model.js';
import type { Source } from './source.js';

export type { Image, ImageLayer, PublishedIndex } from './image-model.js';

export interface OpenImageOptions {
  store: ContentStore;
  /** `os/architecture[/variant]`; default: this machine's. */
  platform?: string;
  /** Implied for loopback hosts. */
  plainHttp?: boolean;
  credentials?: CredentialSource;
  signal: AbortSignal;
  log?: Logger;
}

/** Opens an image: manifest and config are read and checked, layers are not touched. */
export function openImage(_source: Source, _options: OpenImageOptions): Promise<Image> {
  throw new SiphonError('unsupported', 'Cannot open images: not built yet');
}

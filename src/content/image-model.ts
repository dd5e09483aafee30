/** An image as its users see it, whichever kind of source it was opened from. */

import type { BlobSource } from '../common/blob-source.js';
import type { Digest, DiffId } from '../common/digest.js';
import type { Descriptor } from '../remote/descriptor.js';
import type { Manifest } from '../remote/manifest.js';
import type { ImageHome } from './image-home.js';
import type { ImageConfig } from './image-config.js';
import type { LayerOrigin } from './layer-origin.js';

export interface ImageLayer {
  /**
   * Media type, digest and size of the blob. Where {@link identity} is `location`, the digest is a name
   * made of where the blob lies and its version there, and says nothing about the bytes.
   */
  descriptor: Descriptor;
  /** `location` only for a bare tar, behind a URL or uncompressed, whose content nobody has hashed yet. */
  identity: 'content' | 'location';
  /** Absent for a bare tar, where only indexing can tell. */
  diffId?: DiffId;
  origin: LayerOrigin;
}

/** Gives SOCI's zTOC of one layer, already checked against its digest. */
export type PublishedZtoc = (signal: AbortSignal) => Promise<Buffer>;

/** Gives the gzip-compressed index file of one layer, already checked against its digest. */
export type PublishedIndex = (signal: AbortSignal) => Promise<AsyncIterable<Uint8Array>>;

export interface Image {
  /** For people: a reference, or a path. */
  readonly name: string;
  /** What the reference stands for: the manifest itself, or an index that leads to it; absent as below. */
  readonly target?: Descriptor;
  /** Of the manifest for one platform; absent where the source has none (docker-archive, tar). */
  readonly descriptor?: Descriptor;
  readonly manifest?: Manifest;
  /** As in the image; of a bare tar, defaults. */
  readonly config: ImageConfig;
  /** Bottom first. */
  readonly layers: readonly ImageLayer[];
  /** Where it lies with its artifacts; absent where the source cannot hold any (docker-archive, tar). */
  readonly home?: ImageHome;
  /** The layer's blob: from the content store where it is there, else from its origin. */
  openLayer(layer: ImageLayer, signal: AbortSignal): Promise<BlobSource>;
  /**
   * The indexes published beside the image, by layer blob digest; nothing is downloaded until one is
   * called for. An artifact that does not hold together is logged and left out.
   * @throws SiphonError `cancelled`; whatever else goes wrong means no indexes
   */
  fetchIndexes(signal: AbortSignal): Promise<Map<Digest, PublishedIndex>>;
  /** The zTOCs of SOCI's index of the image, as {@link fetchIndexes}. */
  fetchZtocs(signal: AbortSignal): Promise<Map<Digest, PublishedZtoc>>;
  close(): Promise<void>;
}

/**
 * All that the snapshotter knows of lazy layers: folders that somebody else serves, each with a
 * number that stays its name for as long as a snapshot uses it.
 */

import type { Digest } from '../common/digest.js';

export interface LazyLayers {
  /**
   * Releases what an earlier process left that none of the layers `used` is; to be called before
   * anything is prepared. What cannot be released is logged.
   */
  sweep(used: ReadonlySet<number>): Promise<void>;
  /**
   * Makes a layer servable; resolves when its tree can be read at `path`.
   * @throws SiphonError `unavailable` where the image's registry is gone, so that containerd could not
   * fetch the layer either; `cancelled`; any other for a layer that is left to containerd. Whoever failed
   * holds nothing that needs a release
   */
  prepare(request: LazyLayerRequest): Promise<LazyLayer>;
  /**
   * Serves a layer again that an earlier process prepared, without network.
   * Of a layer that is served already it is a cheap no-op.
   */
  restore(number: number): Promise<{ path: string }>;
  /** The folder of a layer, whether served at the moment or not. */
  path(number: number): string;
  /** What the layer takes on this machine's disk: bytes and inodes. */
  usage(number: number): Promise<{ size: number; inodes: number }>;
  /** Stops serving a layer that no snapshot uses any more and frees what it keeps. */
  release(number: number): Promise<void>;
}

export interface LazyLayerRequest {
  /** The image, as the client names it. */
  reference: string;
  /** Digest of the layer's blob as the registry stores it. */
  layerDigest: Digest;
  manifestDigest?: Digest;
  /** Digests of this layer and of those above it in the image, where the client names them. */
  imageLayers: Digest[];
  /** Where else a layer's blob can be had, where the client names such URLs. */
  urls: ReadonlyMap<Digest, readonly string[]>;
  signal: AbortSignal;
}

export interface LazyLayer {
  number: number;
  path: string;
}

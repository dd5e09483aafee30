/**
 * All that the snapshotter knows of how layers come: served lazily, as folders that somebody else keeps,
 * each with a number that stays its name for as long as a snapshot uses it; or as files that are put
 * into a snapshot's own folder.
 */

import type { Digest } from '../common/digest.js';

export interface LazyLayers {
  /**
   * Releases what an earlier process left that none of the layers `used` is; to be called before
   * anything is prepared. What cannot be released is logged.
   */
  sweep(used: ReadonlySet<number>): Promise<void>;
  /**
   * Makes a layer servable, so that its tree can be read at `path`; or finds that its files are better
   * put into a folder, by {@link unpack}.
   * @throws SiphonError `unavailable` where the image's registry is gone, so that containerd could not
   * fetch the layer either; `cancelled`; any other for a layer that is left to containerd. Whoever failed
   * holds nothing that needs a release
   */
  prepare(request: LazyLayerRequest): Promise<PreparedLayer>;
  /**
   * Puts a layer's files into a folder, verified and on disk for good when it resolves.
   * @throws as {@link prepare}; the folder may hold anything then
   */
  unpack(request: LazyLayerRequest, place: UnpackPlace): Promise<void>;
  /**
   * Serves a layer again that an earlier process prepared, without network.
   * Of a layer that is served already it is a cheap no-op.
   */
  restore(number: number): Promise<{ path: string }>;
  /** @throws SiphonError `not-found` where the layer is not served */
  root(number: number): RootAttributes;
  /** The folder of a layer. @throws SiphonError `not-found` where it is not served */
  path(number: number): string;
  /**
   * Folders directly above that of a layer which make reading faster and say nothing else, topmost first: an overlay may
   * do without. They stay as they are while the layer is served.
   */
  above(number: number): string[];
  /**
   * Makes a folder with the directories that a prepared layer needs but does not describe, as the layers
   * below have them; on disk for good when it resolves. It is to stand directly above the layer's own.
   * Nothing is made where there are none.
   */
  writeImplied(number: number, place: ImpliedPlace): Promise<void>;
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

export type PreparedLayer = LazyLayer | { kind: 'files'; reason: UnpackReason };

/** Why a layer is unpacked. */
export interface UnpackReason {
  /** `not-served`: it was lazy once, and cannot be served any more. */
  reason: 'small' | 'format' | 'not-served';
  /** For a person. */
  detail: string;
}

export interface LazyLayer {
  kind: 'lazy';
  number: number;
  path: string;
}

export interface UnpackPlace {
  /** An empty folder, with the attributes that the layer's root has where the layer does not describe it. */
  target: string;
  /** The layers below, nearest first, all of them readable. */
  parents: readonly Lower[];
  reason: UnpackReason;
}

export interface ImpliedPlace {
  /** A folder that is not there yet. */
  target: string;
  /** The layers below, nearest first, all of them readable. */
  parents: readonly Lower[];
}

/**
 * A layer below: a folder, by its path; or a lazy layer, into whose mount nobody but its readers looks, with the folder
 * directly above it that {@link LazyLayers.writeImplied} made, if it did.
 */
export type Lower = string | { layer: number; implied: string | undefined };

/** What a layer says of its root. */
export interface RootAttributes {
  /** With or without the bits of the type. */
  mode: number;
  uid: number;
  gid: number;
}

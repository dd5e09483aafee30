/** What unpacking takes and gives, as plain data that also travels between threads. */

import type { Digest, DiffId } from '../common/digest.js';
import type { ExpectedLayer } from '../index/expected-layer.js';
import type { Compression } from '../index/layer-model.js';
import type { LowerLayer } from './lower-layer.js';

/**
 * `overlay`: one layer in a folder of its own, as overlayfs wants it: whiteouts are 0:0 character devices,
 * opaque folders have `trusted.overlay.opaque`. `merged`: on top of what the folder holds already, where
 * a whiteout removes.
 */
export type UnpackForm = 'overlay' | 'merged';

export interface UnpackJob {
  /** An existing folder. */
  target: string;
  form: UnpackForm;
  /** Whether the attributes of the tar's entry for the root are given to the folder. */
  rootEntry: boolean;
  /** The layers below, nearest first: they say what a directory is that this layer lacks. */
  parents: readonly LowerLayer[];
  expected: ExpectedLayer;
}

export interface UnpackedLayer extends UnpackedTree {
  compression: Compression;
  blobDigest: Digest;
  /** Bytes. */
  blobSize: number;
  diffId: DiffId;
  /** Bytes. */
  tarSize: number;
}

export interface UnpackedTree {
  entries: number;
  /** Bytes of file contents. */
  contentSize: number;
  /**
   * Directories that the layer needs and does not list, which none of {@link UnpackJob.parents} has
   * either: paths from the root, one character a byte. They are 0755 root:root, of the epoch.
   */
  implicitDirectories: string[];
  /** Whether an entry of the tar gave the root its attributes. */
  rootDescribed: boolean;
  /** Extended attributes that the file system of the target does not take. */
  ignoredXattrs: number;
}

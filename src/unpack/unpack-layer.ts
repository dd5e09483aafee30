/**
 * A layer as plain files: its blob, whatever its compression, applied to a folder by containerd's rules
 * in a worker thread. This is what there is for layers that are not served lazily.
 */

import { chmod, mkdir, rm, utimes } from 'node:fs/promises';
import { SiphonError, systemCode } from '../common/errors.js';
import type { ExpectedLayer } from '../index/expected-layer.js';
import type { LowerLayer } from './lower-layer.js';
import type { UnpackForm, UnpackedLayer } from './unpack-model.js';
import { runOnThread } from './unpack-threads.js';

export type { UnpackForm, UnpackedLayer } from './unpack-model.js';
export { type InheritOptions, inheritDirectories } from './inherit-directories.js';

export interface UnpackOptions {
  /** The blob, compressed or not. */
  source: AsyncIterable<Uint8Array>;
  /** The folder that becomes the layer's root. */
  target: string;
  form: UnpackForm;
  /** Compared as soon as it can be; a difference is an error. */
  expected?: ExpectedLayer;
  /** Whether the folder is made, 0755 of the epoch, and removed where unpacking fails; else it is there. */
  fresh?: boolean;
  /**
   * Whether the tar's entry for the root describes the folder. Default: in `merged` form, as umoci does it;
   * containerd leaves a snapshot's root as it is.
   */
  rootEntry?: boolean;
  /**
   * The layers below, nearest first, which say what the directories are that this layer
   * needs and does not list. Where they are not ready yet, inheritDirectories does it later.
   */
  parents?: readonly LowerLayer[];
  signal?: AbortSignal;
}

/** Mode of a layer's root that no entry describes. */
const ROOT_MODE = 0o755;

/**
 * Unpacks one layer. Needs root for owners, devices and overlayfs' marks. Several layers can be
 * unpacked at once, and some will wait for others.
 * @throws SiphonError `corrupt` (cut, damaged, another digest, size or diff id than expected),
 * `unsupported` (a format, a kernel without openat2), `invalid` (a tree that cannot be), `no-space`,
 * `permission`, `already-exists` (a fresh target), `cancelled`; and what `source` throws
 */
export async function unpackLayer(options: UnpackOptions): Promise<UnpackedLayer> {
  const { source, target, form, signal } = options;
  const { expected = {}, rootEntry = form === 'merged', parents = [] } = options;
  const job = { target, form, rootEntry, parents, expected };
  if (options.fresh !== true) return runOnThread({ job, source, signal });
  await makeFresh(target);
  try {
    return await runOnThread({ job, source, signal });
  } catch (error) {
    await rm(target, { recursive: true, force: true });
    throw error;
  }
}

async function makeFresh(target: string): Promise<void> {
  try {
    await mkdir(target);
  } catch (cause) {
    if (systemCode(cause) !== 'EEXIST') throw cause;
    throw new SiphonError(
      'already-exists',
      `Cannot unpack into "${target}": it exists already, expected a new folder`,
      { cause },
    );
  }
  // Not by mkdir, which takes the umask into account.
  await chmod(target, ROOT_MODE);
  await utimes(target, 0, 0);
}

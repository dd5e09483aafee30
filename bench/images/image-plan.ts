/** An image as the benchmark makes it: of Debian packages, with the line by which a user knows that it is ready. */

import type { Entry } from '../../demo/image/entry.js';

export interface ImagePlan {
  name: string;
  title: string;
  /** To be raised when what is made changes, so that nobody goes on with what was made before. */
  version: number;
  /** Bottom first. */
  layers: readonly LayerRecipe[];
  /** The `config` object of the image configuration. */
  process: { Cmd: string[]; Env?: string[]; User?: string; WorkingDir?: string };
  /** Matches the line of output, on either stream, that says: ready. */
  ready: RegExp;
  /** The image whose layers of packages it has, too: the same blobs. */
  sharesLayersWith?: ImagePlan;
  /** The program ends by itself once it is ready, with exit code 0. */
  ends?: boolean;
}

/** A layer of packages on top of those below, or of files. */
export type LayerRecipe = { title: string } & (PackageRecipe | { files: () => Entry[] });

export interface PackageRecipe {
  packages: readonly string[];
  /** Of mmdebstrap(1): `minbase` brings what Debian calls essential, `extract` nothing but what is named. */
  variant: 'minbase' | 'extract';
  /** Shell commands to be run when all is installed, with the root file system's folder as `$1`. */
  finish?: readonly string[];
}

/** The lowest layer of every image but the smallest, so that they share it. */
export const DEBIAN: LayerRecipe = {
  title: 'Debian, minimal',
  packages: [],
  variant: 'minbase',
};

export const PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

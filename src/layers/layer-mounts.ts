/**
 * The FUSE mounts that show layers, side by side in one folder. Whoever asks for an attribute that a file lacks is
 * answered by the server each time, and overlayfs asks for several of each file; only of a whole connection does the kernel
 * remember that it has none. So layers without any extended attribute have one of their own.
 */

import { join } from 'node:path';
import { clearStaleMount } from './mount-table.js';

/** The subfolders: `fuse` shows layers without extended attributes, `xattr` the others. */
export const layerMounts = ['fuse', 'xattr'] as const;

export type LayerMount = (typeof layerMounts)[number];

/** As {@link clearStaleMount}, for what shows layers in this folder. */
export async function clearLayerMounts(directory: string): Promise<void> {
  for (const mount of layerMounts) await clearStaleMount(join(directory, mount));
}

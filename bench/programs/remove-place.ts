/** What is left of a folder that programs worked in, whether they ended well or were killed. */

import { rm } from 'node:fs/promises';
import { listMounts } from '#src/common/mount-info.js';
import { MNT, umount } from '#src/ffi/libc.js';

/** Unmounts, from the top, what is mounted below; what is still used goes when its last user does. */
export async function unmountBelow(folder: string): Promise<void> {
  const points = (await listMounts()).map(({ mountPoint }) => mountPoint);
  for (const point of points.toReversed()) {
    if (!point.startsWith(`${folder}/`)) continue;
    try {
      umount(point, MNT.DETACH);
    } catch {
      // Who served it has unmounted it meanwhile; else the folder cannot be removed, which is an error.
    }
  }
}

/** Leaves no mount and no folder. */
export async function removePlace(folder: string): Promise<void> {
  await unmountBelow(folder);
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
}

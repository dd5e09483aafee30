import { listMounts } from '../common/mount-info.js';
import { MNT, umount } from '../ffi/libc.js';

/**
 * Detaches whatever an earlier process left mounted on `path`, and ends the connection where that is a
 * FUSE mount: a server that was killed while it looked into its own mount waits for itself otherwise,
 * and keeps its descriptor of the device open for ever.
 */
export async function clearStaleMount(path: string): Promise<void> {
  for (const entry of await listMounts()) {
    if (entry.mountPoint === path) umount(path, MNT.DETACH | MNT.FORCE);
  }
}

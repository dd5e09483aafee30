import { systemCode } from '../common/errors.js';
import { listMounts } from '../common/mount-info.js';
import { MNT, umount } from '../ffi/libc.js';

/** What umount2(2) says of a path where nothing is mounted, and of one that is not there. */
const GONE: ReadonlySet<string | undefined> = new Set(['EINVAL', 'ENOENT']);

/**
 * Detaches whatever is mounted on `path`, most often by a process that is gone, and ends the connection where that is a
 * FUSE mount: a server that was killed while it looked into its own mount waits for itself otherwise,
 * and keeps its descriptor of the device open for ever.
 */
export async function clearStaleMount(path: string): Promise<void> {
  for (const entry of await listMounts()) {
    if (entry.mountPoint === path) unmountIfThere(path);
  }
}

/** The process that mounted it, or another that clears away, may come first. */
function unmountIfThere(path: string): void {
  try {
    umount(path, MNT.DETACH | MNT.FORCE);
  } catch (error) {
    if (!GONE.has(systemCode(error))) throw error;
  }
}

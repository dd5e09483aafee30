/** `siphon run`: an image as a writable root filesystem, lazily, gone when closed. */

import { chmod, chown, mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { UndoStack } from '../common/undo-stack.js';
import type { Image } from '../content/image.js';
import { MNT, umount } from '../ffi/libc.js';
import { type ImageSessionOptions, openImageSession } from './image-session.js';
import { mountOverlay } from './overlay-mount.js';

export interface ImageRootfs {
  readonly image: Image;
  /** The mounted folder. Served by this process: look into it with asynchronous calls only. */
  readonly path: string;
  close(): Promise<void>;
}

/** @throws SiphonError for whatever is in the way; nothing is left mounted then */
export async function mountRootfs(options: ImageSessionOptions): Promise<ImageRootfs> {
  const undo = new UndoStack();
  try {
    const session = await openImageSession(options);
    undo.defer(() => session.close());
    const path = join(options.directory, 'rootfs');
    const writable = {
      upperdir: join(options.directory, 'upper'),
      workdir: join(options.directory, 'work'),
    };
    for (const folder of [path, writable.upperdir, writable.workdir]) {
      await mkdir(folder, { mode: 0o755 });
    }
    await copyOwnerAndMode(
      join(session.stack.base, session.stack.lowerdirs[0] ?? ''),
      writable.upperdir,
    );
    mountOverlay({ ...session.stack, writable, target: path });
    undo.defer(() => umount(path, MNT.DETACH));
    return {
      image: session.image,
      path,
      close: () => undo[Symbol.asyncDispose](),
    };
  } catch (error) {
    await undo[Symbol.asyncDispose]();
    throw error;
  }
}

/** The overlay shows its root with the attributes of the upper folder. */
async function copyOwnerAndMode(from: string, to: string): Promise<void> {
  const { uid, gid, mode } = await stat(from);
  await chown(to, uid, gid);
  await chmod(to, mode & 0o7777);
}

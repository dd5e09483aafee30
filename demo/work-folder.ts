/** The demo's temporary folder: all that it makes lies below it, so that nothing can be left elsewhere. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MNT, umount } from '#src/ffi/libc.js';
import { listMounts } from '#src/common/mount-info.js';

export class WorkFolder implements AsyncDisposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  static async create(): Promise<WorkFolder> {
    return new WorkFolder(await mkdtemp(join(tmpdir(), 'siphon-demo-')));
  }

  /** Mount points below the folder, innermost last. */
  async mounts(): Promise<string[]> {
    const all = await listMounts();
    return all.map((entry) => entry.mountPoint).filter((path) => path.startsWith(`${this.path}/`));
  }

  /** Unmounts what a failure left mounted, then removes the folder. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const path of (await this.mounts()).toReversed()) umount(path, MNT.DETACH);
    await rm(this.path, { recursive: true, force: true });
  }
}

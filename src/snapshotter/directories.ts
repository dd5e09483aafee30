/**
 * The folders of snapshots: `snapshots/<id>/fs` holds the content, `snapshots/<id>/work` is overlay's,
 * `snapshots/<id>/snapshot.json` is the snapshot's description. A lazy one has only that.
 *
 * A folder is made before its snapshot is recorded and removed after the record went. A crash in
 * between leaves a folder without a record, never the other way round; {@link removeOrphans} finds it.
 */

import { chmod, chown, mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** Permissions of the root of an image that says nothing of its own. */
const ROOT_MODE = 0o755;
const PERMISSIONS = 0o7777;

export interface NewRoot {
  /** Folder whose owner and permissions it takes. */
  like: string | undefined;
  /** Rather than of that folder. */
  owner?: { uid: number; gid: number } | undefined;
}

export class SnapshotDirectories {
  /** Holds them all. */
  readonly path: string;
  /** Folders whose snapshots are about to be recorded. */
  readonly #unrecorded = new Set<number>();

  /** Makes `<root>/snapshots` where it is missing. */
  static async open(root: string): Promise<SnapshotDirectories> {
    const directories = new SnapshotDirectories(join(root, 'snapshots'));
    await mkdir(directories.path, { recursive: true, mode: 0o700 });
    return directories;
  }

  private constructor(root: string) {
    this.path = root;
  }

  fs(id: number): string {
    return join(this.path, String(id), 'fs');
  }

  work(id: number): string {
    return join(this.path, String(id), 'work');
  }

  /**
   * Makes the folders of a snapshot and keeps them while `record` succeeds.
   * @param root whose owner and permissions the new root takes
   * @param fill gets the new content folder before the snapshot is recorded
   */
  async create<T>(
    id: number,
    root: NewRoot,
    record: () => T,
    fill?: (fs: string) => Promise<void>,
  ): Promise<T> {
    this.#unrecorded.add(id);
    try {
      await this.#make(id, root);
      await fill?.(this.fs(id));
      return record();
    } catch (error) {
      await this.remove(id);
      throw error;
    } finally {
      this.#unrecorded.delete(id);
    }
  }

  /** Removes a snapshot's folders, or what there is of them. */
  async remove(id: number): Promise<void> {
    await rm(join(this.path, String(id)), { recursive: true, force: true });
  }

  /**
   * Removes folders that belong to no snapshot.
   * @param recorded ids of all snapshots, asked for after the folders were listed, so that a snapshot
   * recorded in between keeps its folder
   * @returns the names of what went
   */
  async removeOrphans(recorded: () => Set<number>): Promise<string[]> {
    const names = await readdir(this.path);
    const known = recorded();
    const orphans = names.filter(
      (name) => !known.has(Number(name)) && !this.#unrecorded.has(Number(name)),
    );
    for (const name of orphans) await rm(join(this.path, name), { recursive: true, force: true });
    return orphans;
  }

  async #make(id: number, { like, owner }: NewRoot): Promise<void> {
    await mkdir(join(this.path, String(id)), { mode: 0o700 });
    await mkdir(this.work(id), { mode: 0o711 });
    await mkdir(this.fs(id));
    const found = like === undefined ? undefined : await stat(like);
    const given = owner ?? found;
    if (given !== undefined) await chown(this.fs(id), given.uid, given.gid);
    await chmod(this.fs(id), found === undefined ? ROOT_MODE : found.mode & PERMISSIONS);
  }
}
